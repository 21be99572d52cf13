"""One file per thing a user does. Operators decide and report; the work is done by client/ and rig/."""

from . import (
    add_body,
    apply_pose,
    candidates,
    connection,
    conversation,
    exchange,
    library,
    mapping,
    motion,
    pose,
    prior,
)

CLASSES = (
    *pose.CLASSES,
    *apply_pose.CLASSES,
    *candidates.CLASSES,
    *conversation.CLASSES,
    *motion.CLASSES,
    *prior.CLASSES,
    *exchange.CLASSES,
    *library.CLASSES,
    *mapping.CLASSES,
    *add_body.CLASSES,
    *connection.CLASSES,
)
