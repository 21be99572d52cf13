"""Pictures of people -> poses: BlazePose finds landmarks, a fit turns them into joint rotations. Knows no HTTP.

    picture = Pyramid(image)                      # an upright RGB picture
    people = find_people(picture)                 # the most prominent first
    found = solve(people[0], picture.width, picture.height, corrections={"left_wrist": (x, y)})

``tasks`` is what the engine uses: words, memory of pictures, hands. The weights (36 MB) ship with this package and
are loaded by the first picture.
"""

from .blazepose import NAMES, Landmarks, find_people
from .camera import Camera
from .crops import Pyramid
from .networks import VisionError
from .solve import Found, solve

__all__ = ["NAMES", "Camera", "Found", "Landmarks", "Pyramid", "VisionError", "find_people", "solve"]
