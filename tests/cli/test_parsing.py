"""Command lines, files of arguments, and the sentence for what can't be read."""

import json
import re
from dataclasses import dataclass, field
from itertools import product

import pytest

from tacfn_hf.cli.errors import UsageError
from tacfn_hf.cli.parsing import RECIPES, CommandParser, parse_arguments, parse_training
from tacfn_hf.features.arguments import DataArguments, RawDataArguments
from tacfn_hf.training.arguments import CrossValidationArguments, FineTuningArguments, FineTuningOptions


@dataclass
class Arguments:
    text: str = field(default="")
    layers: list[int] = field(default_factory=list)
    scale: float | None = field(default=None)
    use_cpu: bool = field(default=False)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--layers", "-1", "-2"], Arguments(layers=[-1, -2])),
        (["--text", "- he said -"], Arguments(text="- he said -")),
        (["--text=--audio"], Arguments(text="--audio")),
        (["--use-cpu"], Arguments(use_cpu=True)),
        (["--device", "cpu"], Arguments(use_cpu=True)),
        (["--device", "cpu", "--use_cpu", "true"], Arguments(use_cpu=True)),
        ([], Arguments()),
    ],
)
def test_what_argparse_reads_is_read(argv, expected):
    assert CommandParser((Arguments,)).parse_args_into_dataclasses(argv) == (expected,)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--model", "m", "--text", "t", "--top_k", "two"], "argument --top_k/--top-k: invalid int value: 'two'"),
        (["--text", "t"], "the following arguments are required: --model"),
        (["--model", "m", "other", "--text", "t"], "other belongs to no option of tacfn predict."),
        (["--model", "m", "--text"], "argument --text: expected one argument"),
        (["-model", "m"], "-model is not an option of tacfn predict: did you mean --model?"),
        (["--qqq"], "--qqq is not an option of tacfn predict: --help lists all."),
        (["--mod", "m"], "--mod is not an option of tacfn predict: did you mean --model?"),
        (["--model", "m", "--config", "c.json"], "--config is not an option of tacfn predict: --help lists all."),
        (["--model", "m"], "give --audio, --text or both"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_without_usage(tacfn, argv, sentence):
    assert tacfn("predict", *argv) == (2, "", f"tacfn predict: error: {sentence}\n")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files of arguments in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**contents: object) -> None:
        for name, content in contents.items():
            (tmp_path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))

    return write


def parse(*argv: str) -> Arguments:
    return parse_arguments((Arguments,), argv, prog="tacfn try")[0]


def test_the_command_line_overrides_the_file_wherever_it_stands(files):
    files(mine={"text": "file", "layers": [1, -2], "use_cpu": True, "scale": None})
    assert parse("--config", "mine.json") == Arguments("file", [1, -2], None, True)
    for argv in (["--text", "line", "--config", "mine.json"], ["--config=mine.json", "--text", "line"]):
        assert parse(*argv, "--use_cpu", "false") == Arguments("line", [1, -2], None, False)


def test_a_later_file_overrides_an_earlier_one(files):
    files(one={"text": "one", "scale": 1}, two={"text": "two"})
    assert parse("--config", "one.json", "two.json") == Arguments("two", scale=1.0)
    assert parse("--config", "two.json", "one.json", "--scale", "3") == Arguments("one", scale=3.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scal": 1}, "mine.json has the argument scal, which is not one of tacfn try: did you mean scale?"),
        ({"qqq": 1}, "mine.json has the argument qqq, which is not one of tacfn try: --help lists all."),
        ({"config": "other.json"}, "mine.json has the argument config, which is not one of tacfn try"),
        ({"scale": "much"}, "argument --scale: invalid float value: 'much'"),
        ([1], "mine.json holds a list: it must be a JSON object of arguments."),
        ("{", "mine.json is no JSON"),
    ],
)
def test_a_file_that_can_not_be_used(files, content, message):
    files(mine=content)
    with pytest.raises(ValueError, match=re.escape(message)):
        parse("--config", "mine.json")


def test_a_file_or_a_recipe_that_is_not_there(files):
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        parse("--config", "nowhere.json")
    with pytest.raises(UsageError, match="--config is 'nowhere': it must be a file NAME.json, or a recipe: .*iemocap"):
        parse("--config", "nowhere")
    with pytest.raises(UsageError, match="argument --config: expected at least one argument"):
        parse("--config", "--text", "x")


OF_FINE_TUNING = ["fine-tune", "lora"]
OF_TRAINING = sorted({path.stem for path in RECIPES.glob("*.json")} - set(OF_FINE_TUNING))
TRAINING = {"train": {}, "cross-validate": {"more": (CrossValidationArguments,)}}
TUNING = {"model": FineTuningArguments, "options": FineTuningOptions, "data": RawDataArguments}


@pytest.mark.parametrize(
    ("recipe", "kinds"),
    [*product(OF_TRAINING, TRAINING.values()), *product(OF_FINE_TUNING, [TUNING])],
)
def test_commands_read_their_recipes(tmp_path, recipe, kinds):
    argv = ["--config", recipe, "--dataset", "d", "--output_dir", str(tmp_path)]
    argv += ["--model_name_or_path", "m"] if kinds is TUNING else []
    arguments = parse_training(argv, "", "tacfn", **kinds)
    found = {name: value for given in arguments for name, value in vars(given).items()}
    content = json.loads((RECIPES / f"{recipe}.json").read_text())
    assert content
    assert content.items() <= found.items()


def test_the_command_line_overrides_a_recipe(tmp_path):
    argv = ["--dataset", "d", "--output_dir", str(tmp_path), "--valid_fraction", "0.5", "--config", "iemocap"]
    data_args = parse_training(argv, "", "tacfn train")[0]
    assert data_args == DataArguments("d", group_column="session", valid_fraction=0.5, valid_group_column="dialogue")


def test_help_lists_the_options_of_this_task_and_help_all_every_one(tacfn):
    for name in ("train", "cross-validate"):
        own, all_of_them = (
            set(re.findall(r"^  (--\w+)", tacfn(name, flag)[1], re.MULTILINE)) for flag in ("--help", "--help_all")
        )
        assert {"--dataset", "--hidden_size", "--learning_rate", "--class_weights", "--help_all", "--config"} <= own
        assert own < all_of_them
        assert {"--gradient_accumulation_steps", "--bf16"} <= all_of_them - own
    assert "--seeds" in own


def test_a_file_beside_the_command_is_not_read_by_itself(tmp_path, monkeypatch):
    (tmp_path / "tacfn.args").write_text("--text surprise")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "tacfn")])
    assert parse() == Arguments()
