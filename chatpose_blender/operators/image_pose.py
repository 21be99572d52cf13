"""A picture becomes a pose: read it in a thread, ask, put the answer on the character; several people as well.

Find People, choose one, Pose from Picture, Pose People.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import bpy
from bpy.app.translations import pgettext_tip
from bpy.props import CollectionProperty, IntProperty, StringProperty

from .. import image_sources, preferences, seen, session
from ..answers import found, put
from ..applying import from_picture
from ..client.contract import PeopleRequest, Pose, PoseRequest, Result, Sight
from ..client.http import Endpoint
from ..client.picture import Picture
from ..picture_properties import MAX_PEOPLE
from ..rig import apply
from ..rig.target import Target
from . import targets
from .image import settings_of
from .polls import AsksServer, Explains, busy, refuse

NO_PICTURE = "There is no picture: open one, or drop it onto the viewport"
READING = "Reading the Picture"


def words_of(context: bpy.types.Context) -> str:
    """What the artist says along with the picture."""
    return context.scene.chatpose.prompt.strip() if settings_of(context).use_prompt else ""


class TakesPicture(AsksServer):
    """Asks the server about the picture, for the character."""

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        return "" if settings_of(context).image else NO_PICTURE


class CHATPOSE_OT_find_people(Explains, bpy.types.Operator):
    bl_idname = "chatpose.find_people"
    bl_label = "Find People"
    bl_description = "Look for the people in the picture, to choose whose pose is taken"
    bl_options = {"REGISTER"}  # nothing in the scene changes

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if not session.can("people"):
            return "The server that is running cannot do this: update it"
        reason = "" if settings_of(context).image else NO_PICTURE
        return preferences.refusal(context) or busy() or reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, endpoint = settings_of(context), preferences.endpoint(context)
        image, frame = settings.image, settings.first_frame
        key = (image.name, image.session_uid)

        def ask(work: session.Work, picture: Picture) -> None:
            session.begin(endpoint, "Looking", PeopleRequest(picture.url), None, lambda w, r: take(picture, r))

        def take(picture: Picture, result: Result) -> None:
            looked_at = find(key)
            if looked_at is not None and result.sight is not None:
                seen.looked(looked_at, picture, result.sight, frame=frame)
                session.current.answer = told(len(result.sight.people))

        session.run(READING, image_sources.reading(image, frame), None, ask)
        return {"FINISHED"}


def told(count: int) -> str:
    """How many people were found, as a sentence."""
    if count == 0:
        return "Nobody was found; take a picture in which people are larger or clearer."
    return "One person was found." if count == 1 else f"{count} people were found."


class CHATPOSE_OT_choose_person(Explains, bpy.types.Operator):
    bl_idname = "chatpose.choose_person"
    bl_label = "Choose Person"
    bl_description = "Take the pose of this person"
    bl_options = {"REGISTER", "UNDO"}

    person: IntProperty(
        name="Person", description="The person's number in the picture", default=1, min=0, max=MAX_PEOPLE
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.person:
            return pgettext_tip("Take the pose of this person")
        return pgettext_tip("Take the pose of whom the prompt means, else of the person who is seen best")

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return busy() or ("" if seen.of(settings_of(context).image) else "Press Find People first")

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings_of(context).person = self.person
        if bpy.ops.chatpose.pose_from_picture.poll():
            bpy.ops.chatpose.pose_from_picture()
        return {"FINISHED"}


class CHATPOSE_OT_pose_from_picture(TakesPicture, bpy.types.Operator):
    bl_idname = "chatpose.pose_from_picture"
    bl_label = "Pose from Picture"
    bl_description = "Pose the character as the person in the picture"
    bl_options = {"REGISTER"}  # the answer's own operator makes the undo step

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, endpoint = settings_of(context), preferences.endpoint(context)
        image, frame, words = settings.image, settings.first_frame, words_of(context)
        key, chosen = (image.name, image.session_uid), settings.person
        target = Target.of(targets.target(context))

        def ask(work: session.Work, picture: Picture) -> None:
            def take(work: session.Work, result: Result) -> None:
                take_pose(work, result, key, picture, words, frame)

            request = request_for(find(key), picture, words, chosen)
            session.begin(endpoint, "Posing", request, target, take)

        session.run(READING, image_sources.reading(image, frame), target, ask)
        return {"FINISHED"}


def request_for(image: bpy.types.Image | None, picture: Picture, words: str, chosen: int) -> PoseRequest:
    """The question; what the artist has corrected on this person goes along. ``chosen``: 0, or the person's number."""
    known = seen.of(image)
    same = known is not None and known.picture.url == picture.url and known.sight.person == chosen - 1
    return PoseRequest(
        words,
        image=picture.url,
        person=chosen - 1 if chosen else None,
        keypoints=known.corrections if same else {},
    )


def take_pose(
    work: session.Work, result: Result, key: tuple[str, int], picture: Picture, words: str, frame: int
) -> None:
    """One undo step: the answer on the character, and what was seen remembered."""
    armature, image = found(work), find(key)
    if armature is None:
        return
    if not result.poses:
        session.fail("The server answered without a pose; try another picture.")
        return
    if image is not None and result.sight is not None:
        seen.looked(image, picture, result.sight, result.poses[0], frame=frame)
        seen.shown(image)
    pose, settings = from_picture(bpy.context, result.poses[0])
    prompt = f"{key[0]}: {words}" if words else f"As in {key[0]}"
    put(armature, pose, prompt=prompt, result=result, **settings)


def find(key: tuple[str, int]) -> bpy.types.Image | None:
    """An image that is remembered across undo."""
    name, uid = key
    same = next((image for image in bpy.data.images if image.session_uid == uid), None)
    return same or bpy.data.images.get(name)


# -- several people --------------------------------------------------------------------------------------------------


class ChatPosePersonChoice(bpy.types.PropertyGroup):
    """One line of Pose People's dialog; ``name`` is the armature's."""

    person: IntProperty(
        name="Person",
        description="Number of the person whose pose this character takes. 0: none",
        default=0,
        min=0,
        max=MAX_PEOPLE,
    )


class CHATPOSE_OT_pose_people(Explains, bpy.types.Operator):
    bl_idname = "chatpose.pose_people"
    bl_label = "Pose People"
    bl_description = "Give each selected character the pose of one of the people in the picture, in one undo step"
    bl_options = {"REGISTER"}

    choices: CollectionProperty(
        type=ChatPosePersonChoice, name="Characters", description="Who takes whose pose", options={"SKIP_SAVE"}
    )

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        known = seen.of(settings_of(context).image)
        if known is None or not known.sight.people:
            return "Press Find People first"
        if not _characters(context):
            return "Select the characters that take the poses"
        return preferences.refusal(context) or busy()

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self._fill(context)
        return context.window_manager.invoke_props_dialog(self)

    def draw(self, context: bpy.types.Context) -> None:
        """One line for each character."""
        for choice in self.choices:
            row = self.layout.row()
            row.label(text=choice.name, icon="ARMATURE_DATA", translate=False)
            row.prop(choice, "person")

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self.choices:
            self._fill(context)
        known = seen.of(settings_of(context).image)
        count = len(known.sight.people)
        chosen: list[tuple[Target, int]] = []
        for choice in self.choices:
            armature = context.scene.objects.get(choice.name)
            if choice.person > count:
                return refuse(self, f"There are only {count} people in the picture.")
            if choice.person and armature is not None:
                chosen.append((Target.of(armature), choice.person - 1))
        if not chosen:
            return refuse(self, "No character was given a person; choose a number above 0.")
        _ask_next(preferences.endpoint(context), known, chosen, [])
        return {"FINISHED"}

    def _fill(self, context: bpy.types.Context) -> None:
        """From left to right: characters as the viewport shows them, people as they stand in the picture."""
        people = seen.of(settings_of(context).image).sight.people
        order = sorted(range(len(people)), key=lambda i: people[i].box[0] + people[i].box[2])
        self.choices.clear()
        for i, armature in enumerate(_characters(context)):
            choice = self.choices.add()
            choice.name, choice.person = armature.name, order[i] + 1 if i < len(order) else 0


def _characters(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected rigs, from the left of the view to its right; of the world's front view where there is none."""
    rigs = {targets.armature_of(ob) for ob in context.selected_objects}
    posable = [rig for rig in rigs if rig is not None and not targets.refusal(rig)]
    view = getattr(context.space_data, "region_3d", None)  # the sidebar's own region has none
    side = view.view_matrix if view is not None else None

    def place(rig: bpy.types.Object) -> tuple[float, str]:
        at = rig.matrix_world.translation
        return ((side @ at).x if side is not None else at.x, rig.name)

    return sorted(posable, key=place)


def _ask_next(endpoint: Endpoint, known: seen.Seen, chosen: Sequence[tuple[Target, int]], poses: list[Pose]) -> None:
    """Asks for the next person's pose, or puts them all on when they are there."""
    if len(poses) == len(chosen):
        _put_all([(target, pose) for (target, _), pose in zip(chosen, poses, strict=True)])
        return
    target, person = chosen[len(poses)]

    def take(work: session.Work, result: Result) -> None:
        if not result.poses:
            session.fail(f"There came no pose for person {person + 1}; nothing was changed.")
            return
        _ask_next(endpoint, known, chosen, [*poses, result.poses[0]])

    request = PoseRequest("", image=known.picture.url, person=person)
    session.begin(endpoint, f"Person {len(poses) + 1} of {len(chosen)}", request, target, take)
    session.current.work = part_of(session.current.work, len(poses), len(chosen))


def part_of(work: session.Work, done: int, count: int) -> session.Work:
    """A job as one of many that are one thing to the artist, from its beginning on."""
    return replace(work, part=(done, count), stage=work.title, fraction=done / count)


def _put_all(poses: Sequence[tuple[Target, Pose]]) -> None:
    """One undo step for all of them."""
    items: list[dict[str, object]] = []
    for target, pose in poses:
        armature = target.find()
        if armature is None:
            session.fail(f"'{target.name}' is no longer in the scene; nothing was changed.")
            return
        items.append({"target": armature.name, "pose": pose.to_json()})
    with session.in_window():
        bpy.ops.chatpose.apply_poses("EXEC_DEFAULT", True, poses=json.dumps(items))
    session.current.answer = "One character was posed." if len(items) == 1 else f"{len(items)} characters were posed."


class CHATPOSE_OT_apply_poses(bpy.types.Operator):
    bl_idname = "chatpose.apply_poses"
    bl_label = "Pose People"
    bl_description = "Put one pose on each of several characters"
    bl_options = {"INTERNAL", "UNDO"}

    poses: StringProperty(name="Poses", description="Characters and poses as JSON", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        items = [(item["target"], Pose.from_json(item["pose"])) for item in json.loads(self.poses)]
        rigs = [context.scene.objects[name] for name, _ in items]
        before = [apply.snapshot(rig) for rig in rigs]
        try:
            for name, pose in items:
                taken, settings = from_picture(context, pose)
                bpy.ops.chatpose.apply_pose(target=name, pose=json.dumps(taken.to_json()), **settings)
        except RuntimeError as error:  # one that cannot be posed must not leave the others half done
            for rig, channels in zip(rigs, before, strict=True):
                apply.restore(rig, channels)
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}
        return {"FINISHED"}


def chosen_person(sight: Sight, setting: int) -> int:
    """The index of the person that is marked in the picture."""
    return setting - 1 if 0 < setting <= len(sight.people) else sight.person


CLASSES = (
    ChatPosePersonChoice,
    CHATPOSE_OT_find_people,
    CHATPOSE_OT_choose_person,
    CHATPOSE_OT_pose_from_picture,
    CHATPOSE_OT_pose_people,
    CHATPOSE_OT_apply_poses,
)
