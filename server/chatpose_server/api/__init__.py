"""The HTTP service of ``design/api.md``: routes over the job queue and the engine, behind one guard."""
