"""Loading networks, in a process of its own: the runtime speaks once a process."""

import subprocess
import sys


def test_loading_says_nothing_and_leaves_the_standard_error_alone():
    code = (
        "import sys; from chatpose_server.vision.networks import load; load('pose_detection.tflite'); sys.exit('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.split() == ["end"]
