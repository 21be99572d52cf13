"""One posecode engine, four uses: measure a pose, say it, parse words, make statements true.

``vocabulary``  the table of quantities and posecodes; ``read("left_hand@hip; kneeling")`` -> ``Request``
``measure``     ``measure(matrot) -> (B, quantities)``; ``posecodes_hold(values) -> (B, posecodes)``
``refine``      ``refine(matrot, request)`` makes statements hold; ``solve(request)`` makes poses from nothing
``say``         ``describe(pose)``, ``say(facts)``: English, short or long, several styles, seeded
``parse``       ``parse("hands on hips, looking left")`` -> statements, and what was not understood
``edit``        ``edit("raise the left arm higher", history)`` -> the changed pose, what was touched, what was not met

Rotations everywhere are (B, 22, 3, 3) local matrices in the order of ``skeleton.BODY_JOINTS``. Import the modules:
nothing is loaded here, so that the vocabulary can be used without torch.
"""
