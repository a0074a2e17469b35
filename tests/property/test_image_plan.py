from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, strategies as st

from squall.images.host import HostImage
from squall.images.plan import BuildFacts, ImagePlan, plan_image, trees_of
from squall.images.skeleton import Skeleton, SkeletonDraft
from squall.images.sweep import Layer, layers_to_drop
from squall.model.image import ClientPython, ImageRecipe
from squall.model.image_steps import AddLocal, Env, PipInstall, Step, Workdir

PYTHON = ClientPython(
    executable="/v/bin/python",
    prefix="/v",
    base_prefix="/usr",
    version="3.12.1",
    site_dirs=("/v/site-packages",),
)
TREES = {word: f"/trees/{word}" for word in ("six", "numpy<2", "torch", "a", "b")}
FACTS = BuildFacts(python=PYTHON, host=HostImage(mounts=(), skeleton=Skeleton()), trees=TREES)

words = st.sampled_from(["six", "numpy<2", "torch", "a", "b"])
names = st.sampled_from(["A", "B", "PYTHONPATH", "PATH"])
pips = st.builds(
    PipInstall,
    packages=st.lists(words, min_size=1, max_size=2).map(tuple),
    pre=st.booleans(),
    dialect=st.sampled_from(["pip", "uv"]),
    env=st.dictionaries(st.just("C"), words, max_size=1),
    build_id=st.sampled_from(["", "1"]),
)
envs = st.builds(Env, variables=st.dictionaries(names, words, min_size=1, max_size=2))
dirs = st.builds(Workdir, path=st.sampled_from(["/app", "/data"]))
copied = st.builds(
    AddLocal,
    kind=st.just("dir"),
    remote=st.sampled_from(["/data", "/app/x"]),
    tree=words,
    copy=st.just(True),
    origin=words,
)
uncopied = st.builds(
    AddLocal,
    kind=st.just("dir"),
    remote=st.sampled_from(["/data", "/app/y"]),
    tree=words,
    copy=st.just(False),
)
recipes = st.builds(
    lambda built, late: ImageRecipe(steps=(*built, *late)),
    st.lists(st.one_of(pips, envs, dirs, copied), max_size=6),
    st.lists(st.one_of(uncopied, envs, dirs), max_size=3),
)


def keys(plan: ImagePlan) -> list[str]:
    return [build.key for build in plan.builds]


@given(recipes)
def test_a_recipe_survives_its_plain_form(recipe: ImageRecipe) -> None:
    assert ImageRecipe.from_json(recipe.to_json()) == recipe


@given(recipes, st.data())
def test_a_plan_carried_out_leaves_nothing_to_do_wherever_it_was_broken_off(
    recipe: ImageRecipe, data: st.DataObject
) -> None:
    whole = plan_image(recipe, FACTS)
    done = data.draw(st.integers(0, len(whole.builds)))
    half = plan_image(recipe, replace(FACTS, built=frozenset(keys(whole)[:done])))
    assert keys(half) == keys(whole)[done:]
    after = plan_image(recipe, replace(FACTS, built=frozenset(keys(whole))))
    assert after.builds == ()
    assert (after.key, after.layers) == (whole.key, whole.layers)


@given(recipes)
def test_each_build_stands_on_the_one_before_it(recipe: ImageRecipe) -> None:
    plan = plan_image(recipe, FACTS)
    assert [build.parent for build in plan.builds] == [None, *keys(plan)][: len(plan.builds)]
    for at, build in enumerate(plan.builds):
        assert build.before == tuple(other.step for other in plan.builds[:at])


@given(recipes)
def test_the_last_layer_alone_is_enough(recipe: ImageRecipe) -> None:
    plan = plan_image(recipe, FACTS)
    assert plan_image(recipe, replace(FACTS, built=frozenset(plan.layers))).builds == ()


@given(recipes, recipes)
def test_layers_are_the_same_exactly_when_all_that_went_in_is_the_same(
    one: ImageRecipe, two: ImageRecipe
) -> None:
    assert (keys(plan_image(one, FACTS)) == keys(plan_image(two, FACTS))) == (_went_in(one) == _went_in(two))


@given(recipes, st.data())
def test_a_change_of_one_step_changes_that_layer_and_the_later_ones_only(
    recipe: ImageRecipe, data: st.DataObject
) -> None:
    pip_at = [at for at, step in enumerate(recipe.steps) if isinstance(step, PipInstall)]
    if not pip_at:
        return
    nth = data.draw(st.integers(0, len(pip_at) - 1))
    steps = list(recipe.steps)
    old = steps[pip_at[nth]]
    assert isinstance(old, PipInstall)
    steps[pip_at[nth]] = replace(old, packages=(*old.packages, "another"))
    before, after = (
        keys(plan_image(recipe, FACTS)),
        keys(plan_image(replace(recipe, steps=tuple(steps)), FACTS)),
    )
    assert before[:nth] == after[:nth]
    assert not set(before[nth:]) & set(after[nth:])


@given(recipes, st.sampled_from(["version", "soabi", "platform"]))
def test_another_python_and_other_sources_share_no_layer(recipe: ImageRecipe, field: str) -> None:
    here = keys(plan_image(recipe, FACTS))
    changed: dict[str, Any] = {field: "3.12.2"}
    python = replace(PYTHON, **changed)
    assert not set(here) & set(keys(plan_image(recipe, replace(FACTS, python=python))))
    assert not set(here) & set(keys(plan_image(replace(recipe, sources="others"), FACTS)))


@given(recipes)
def test_what_is_added_at_the_start_and_what_it_is_called_changes_no_layer(recipe: ImageRecipe) -> None:
    without = tuple(step for step in recipe.steps if not (isinstance(step, AddLocal) and not step.copy))
    renamed = tuple(replace(step, origin="x") if isinstance(step, AddLocal) else step for step in without)
    assert keys(plan_image(recipe, FACTS)) == keys(plan_image(replace(recipe, steps=renamed), FACTS))


@given(recipes)
def test_each_added_tree_lies_over_the_root_once_and_a_later_one_over_an_earlier(recipe: ImageRecipe) -> None:
    plan = plan_image(recipe, FACTS)
    adds = [step for step in recipe.steps if isinstance(step, AddLocal)]
    assert sorted(plan.lowers) == sorted(TREES[tree] for tree in trees_of(recipe))
    if adds:
        assert plan.lowers[0] == TREES[adds[-1].tree]
    for build in plan.builds:
        assert set(build.lowers) <= {TREES[add.tree] for add in adds if add.copy}


@given(recipes)
def test_the_source_comes_first_then_layers_then_the_clients_packages(recipe: ImageRecipe) -> None:
    plan = plan_image(recipe, FACTS)
    layers = tuple(f"/squall/layers/{key}" for key in plan.layers)
    assert plan.sys_path == ("/app", *layers, "/v/site-packages", "/squall/python")
    assert {mount.target for mount in plan.mounts} == set(layers)
    found = plan.environment["PYTHONPATH"].split(":")
    assert [part for part in found if part in {"/app", *layers}] == ["/app", *layers]


@given(recipes)
def test_at_the_level_process_nothing_is_mounted_and_layers_are_used_where_they_lie(
    recipe: ImageRecipe,
) -> None:
    plan = plan_image(
        recipe, replace(FACTS, isolated=False, layers_dir="/state/layers", source_root="/home/ada/x")
    )
    assert plan.mounts == ()
    assert plan.sys_path[0] == "/home/ada/x"
    assert not [path for path in plan.sys_path if path.startswith("/squall")]
    assert keys(plan) == keys(plan_image(recipe, FACTS))


@given(recipes)
def test_later_variables_win_and_the_image_key_tells_environments_apart(recipe: ImageRecipe) -> None:
    wanted: dict[str, str] = {}
    for step in recipe.steps:
        if isinstance(step, Env):
            wanted |= step.variables
    plan = plan_image(recipe, FACTS)
    assert all(plan.environment[name] == value for name, value in wanted.items() if name != "PYTHONPATH")
    other = replace(recipe, steps=(*recipe.steps, Env(variables={"A": "else"})))
    assert (plan_image(other, FACTS).key == plan.key) == (wanted.get("A") == "else")


layers = st.lists(
    st.builds(
        Layer,
        key=st.text("abc", min_size=1, max_size=3),
        size_bytes=st.integers(0, 100),
        used_s=st.floats(0, 100),
    ),
    unique_by=lambda layer: layer.key,
)


@given(layers, st.frozensets(st.text("abc", min_size=1, max_size=3)), st.integers(0, 500), st.floats(0, 120))
def test_a_sweep_keeps_what_is_used_and_drops_no_more_than_it_must(
    known: list[Layer], in_use: frozenset[str], keep_bytes: int, older_than_s: float
) -> None:
    dropped = layers_to_drop(known, in_use=in_use, keep_bytes=keep_bytes, older_than_s=older_than_s)
    left = [layer for layer in known if layer not in dropped]
    assert not [layer for layer in dropped if layer.key in in_use or layer.used_s >= older_than_s]
    may_go = [layer for layer in left if layer.key not in in_use and layer.used_s < older_than_s]
    if sum(layer.size_bytes for layer in left) > keep_bytes:
        assert not may_go
    if dropped:
        newest = max(dropped, key=lambda layer: (layer.used_s, layer.key))
        assert sum(layer.size_bytes for layer in left) + newest.size_bytes > keep_bytes
        assert all((layer.used_s, layer.key) > (newest.used_s, newest.key) for layer in may_go)
    assert layers_to_drop(left, in_use=in_use, keep_bytes=keep_bytes, older_than_s=older_than_s) == ()


paths = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(st.tuples(st.sampled_from(["dir", "file", "link"]), paths)))
def test_a_skeleton_has_one_thing_at_a_path_below_plain_directories_only(adds: list[tuple[str, str]]) -> None:
    draft = SkeletonDraft()
    for kind, path in adds:
        match kind:
            case "dir":
                draft.add_dir(path)
            case "file":
                draft.add_file(path)
            case _:
                draft.add_link(path, "/elsewhere")
    done = draft.done()
    everything = [path for path, _ in (*done.dirs, *done.files, *done.links)]
    assert len(everything) == len(set(everything))
    directories = {"", *(path for path, _ in done.dirs)}
    assert all(path.rpartition("/")[0] in directories for path in everything)
    assert [path for path, _ in done.dirs] == sorted(path for path, _ in done.dirs)


def _went_in(recipe: ImageRecipe) -> list[list[object]]:
    """For each layer, everything that its content depends on."""
    before: list[object] = []
    found: list[list[object]] = []
    for step in recipe.steps:
        matters: Step | tuple[str, ...] | None = step
        if isinstance(step, AddLocal):
            matters = (step.remote, step.tree) if step.copy else None
        elif isinstance(step, Workdir):
            matters = None
        if matters is not None:
            before = [*before, matters]
        if isinstance(step, PipInstall):
            found.append(before)
    return found
