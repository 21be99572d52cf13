"""One file per thing a user does. Operators decide and report; the work is done by client/ and rig/."""

from . import add_body, apply_pose, candidates, connection, conversation, pose

CLASSES = (
    *pose.CLASSES,
    *apply_pose.CLASSES,
    *candidates.CLASSES,
    *conversation.CLASSES,
    *add_body.CLASSES,
    *connection.CLASSES,
)
