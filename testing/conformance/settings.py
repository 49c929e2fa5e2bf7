"""Settings: every problem is named at once, before the first request, and no secret is shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from testing.conformance.program import EveryProgram, refusals

if TYPE_CHECKING:
    from pathlib import Path

    from testing.conformance.program import Server


class Settings(EveryProgram):
    @pytest.mark.parametrize("option", ["--version", "--help", "--about"])
    def test_options_that_need_no_settings_ask_for_none(self, option: str) -> None:
        run = self.run(option)

        assert (run.returncode, run.log("ERROR"), run.log("WARNING")) == (0, [], [])
        assert run.stdout

    @pytest.mark.parametrize("text", ["5", "5.0", "{least}", "{most}", "null"])
    def test_a_whole_number_may_have_a_decimal_point_and_null_is_the_default(
        self, text: str, server: Server, tmp_path: Path
    ) -> None:
        name, least, most = self.program.number
        settings = json.dumps(self.settings(server.url))
        number = text.format(least=least, most=most)
        run = self.run_with(tmp_path, f'{settings[:-1]}, "{name}": {number}}}')

        assert (run.returncode, run.log("WARNING")) == (0, []), run.stderr

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ('"5"', "'5'"),
            ("1.5", "1.5"),
            ("true", "True"),
            ("NaN", "nan"),
            ("1e50", "1E+50"),
            ("1e999999", "1E+999999"),
            ("{below}", "{below}"),
            ("{above}", "{above}"),
            ("[]", "[]"),
        ],
    )
    def test_a_value_that_is_not_a_whole_number_in_range_is_refused_and_shown_as_written(
        self, text: str, shown: str, server: Server, tmp_path: Path
    ) -> None:
        name, least, most = self.program.number
        around = {"below": least - 1, "above": most + 1}
        settings = json.dumps(self.settings(server.url))
        run = self.run_with(tmp_path, f'{settings[:-1]}, "{name}": {text.format(**around)}}}')

        cure = f"write a whole number from {least} to {most}"
        assert refusals(run, server) == [f"{name} is {shown.format(**around)}: {cure}"]

    @pytest.mark.parametrize("text", ["5", "5.0", " 5 "])
    def test_every_setting_can_come_from_the_environment(self, text: str, server: Server) -> None:
        name, *_ = self.program.number
        run = self.run("--config=ENV", **self.variables(self.settings(server.url) | {name: text}))

        assert (run.returncode, run.log("WARNING")) == (0, []), run.stderr
        assert server.requests
        assert "come from None" not in run.stderr

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("two", "'two'"),
            ("1.5", "'1.5'"),
            ("1e50", "'1e50'"),
            ("9" * 5000, repr("9" * 5000)),
            ("\u0663", "'\u0663'"),
            ("{below}", "{below}"),
            ("{above}", "{above}"),
        ],
        ids=lambda text: text[:9],
    )
    def test_a_number_in_the_environment_that_cannot_be_used_is_named_with_its_variable(
        self, text: str, shown: str, server: Server
    ) -> None:
        name, least, most = self.program.number
        around = {"below": least - 1, "above": most + 1}
        given = self.settings(server.url) | {name: text.format(**around)}
        run = self.run("--config=ENV", **self.variables(given))

        source = f"{name} (from {self.program.variable(name)})"
        cure = f"write a whole number from {least} to {most}"
        assert refusals(run, server) == [f"{source} is {shown.format(**around)}: {cure}"]

    def test_every_problem_is_named_at_once_and_no_secret_shown(
        self, server: Server, tmp_path: Path
    ) -> None:
        program = self.program
        name, least, most = program.number
        bad = {program.confidential: program.unusable, name: least - 1, program.address: 7}
        problems = refusals(self.run_with(tmp_path, {**program.settings, **bad}), server)

        assert len(problems) == 3
        assert f"{program.address} is not a string: put it in quotes" in problems
        assert f"{name} is {least - 1}: write a whole number from {least} to {most}" in problems
        assert any(problem.startswith(f"{program.confidential} has ") for problem in problems)

    def test_every_variable_is_named_at_once_and_no_secret_shown(self, server: Server) -> None:
        program = self.program
        name, *_ = program.number
        bad = {program.confidential: program.unusable, name: "two"}
        run = self.run("--config=ENV", **self.variables(self.settings(server.url) | bad))

        named = {problem.partition(")")[0] for problem in refusals(run, server)}
        assert named == {f"{each} (from {program.variable(each)}" for each in bad}

    def test_a_secret_that_is_in_another_setting_too_is_not_shown(
        self, server: Server, tmp_path: Path
    ) -> None:
        name, *_ = self.program.number
        secret = {self.program.confidential: self.program.usable}
        given = self.settings(server.url) | secret

        variables = self.variables(given | {name: "hidden-secret"})
        [from_variable] = refusals(self.run("--config=ENV", **variables), server)
        [problem] = refusals(self.run_with(tmp_path, given | {name: "hidden-secret"}), server)
        run = self.run_with(tmp_path, given | {"hidden-secret": 5})

        assert problem.startswith(f"{name} ")
        assert from_variable.startswith(f"{name} (from ")
        assert len(run.log("WARNING")) == 1
        assert "hidden" not in run.stderr

    def test_a_required_setting_that_is_missing_is_named(
        self, server: Server, tmp_path: Path
    ) -> None:
        name = self.program.required
        [problem] = refusals(
            self.run_with(tmp_path, self.settings(server.url) | {name: None}), server
        )

        assert problem.startswith(f"{name} is missing: ")

    def test_a_misspelt_name_is_reported_where_a_required_setting_is_missing(
        self, server: Server, tmp_path: Path
    ) -> None:
        name = self.program.required
        settings = self.settings(server.url)
        misspelt = {"stream_maps": {}, f"{name}s".upper(): settings[name], name: None}
        [problem] = refusals(self.run_with(tmp_path, settings | misspelt), server)

        hint = f"(there is no setting {f'{name}s'.upper()!r}: did you mean {name}?)"
        assert problem.startswith(f"{name} is missing: ")
        assert problem.endswith(hint)

    def test_an_unknown_setting_is_named_with_the_nearest_known_one(
        self, server: Server, tmp_path: Path
    ) -> None:
        name, *_ = self.program.number
        unknown = {name[:-1]: 5, "zzzzzz": 5, "of_no_value": None}
        run = self.run_with(tmp_path, self.settings(server.url, **unknown))

        assert run.returncode == 0
        assert run.log("WARNING") == [
            f"There is no setting {name[:-1]!r}; it is ignored: did you mean {name}?",
            "There is no setting 'zzzzzz'; it is ignored",
        ]

    @pytest.mark.parametrize("value", ["hidden", ["hidden"]])
    @pytest.mark.parametrize("name", ["stream_maps", "flattening_enabled"])
    def test_the_sdks_own_settings_are_refused_without_their_values(
        self, name: str, value: object, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, **{name: value}))

        assert refusals(run, server) == [
            f"{name} has a wrong type or value: compare it with --about"
        ]

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'[["a", 1]]', b"null", b'{"a": "\xff"}']
    )
    def test_a_config_file_without_a_json_object_is_named(
        self, content: bytes, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, content)

        [problem] = refusals(run, server)
        assert problem == (
            f"{tmp_path / 'config.json'} does not hold a JSON object: "
            "give --config a file with one JSON object"
        )

    def test_a_config_file_that_is_missing_is_named(self, server: Server) -> None:
        [problem] = refusals(self.run("--config=/nowhere.json"), server)

        assert problem.startswith("/nowhere.json cannot be read (FileNotFoundError): ")

    def test_the_second_of_two_config_files_wins(self, server: Server, tmp_path: Path) -> None:
        name, *_ = self.program.number
        first, second = tmp_path / "first.json", tmp_path / "second.json"
        first.write_text(json.dumps(self.settings(server.url, **{name: "two"})))
        second.write_text(json.dumps({name: 5}))

        assert self.run(f"--config={first}", f"--config={second}").returncode == 0
        assert self.run(f"--config={second}", f"--config={first}").returncode == 1


class Flags(EveryProgram):
    @pytest.mark.parametrize("value", ["true", "no", 1])
    def test_a_flag_is_true_or_false(self, value: object, server: Server, tmp_path: Path) -> None:
        flag = self.program.flag or ""
        run = self.run_with(tmp_path, self.settings(server.url, **{flag: value}))

        assert refusals(run, server) == [f"{flag} is {value!r}: write true or false"]

    @pytest.mark.parametrize("word", ["fasle", "2", ""])
    def test_a_word_that_is_not_a_flag_is_named_with_its_variable(
        self, word: str, server: Server
    ) -> None:
        flag = self.program.flag or ""
        given = self.settings(server.url) | {flag: word}
        run = self.run("--config=ENV", **self.variables(given))

        source = f"{flag} (from {self.program.variable(flag)})"
        assert refusals(run, server) == [f"{source} is {word!r}: write true or false"]

    @pytest.mark.parametrize("word", ["Yes", "on", "1", "no", "0", "FALSE"])
    def test_a_flag_in_the_environment_can_be_any_of_the_usual_words(
        self, word: str, server: Server
    ) -> None:
        given = self.settings(server.url) | {self.program.flag or "": word}
        run = self.run("--config=ENV", **self.variables(given))

        assert run.returncode == 0, run.stderr


class NoBatches(EveryProgram):
    @pytest.mark.parametrize("value", [{}, {"storage": "hidden"}])
    def test_batches_are_refused(self, value: object, server: Server, tmp_path: Path) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, batch_config=value))

        [problem] = refusals(run, server)
        assert problem.startswith("batch_config cannot be used: ")

    def test_batches_are_refused_from_the_environment(self, server: Server) -> None:
        given = self.settings(server.url, batch_config={"storage": "hidden"})
        run = self.run("--config=ENV", **self.variables(given))

        [problem] = refusals(run, server)
        variable = self.program.variable("batch_config")
        assert problem.startswith(f"batch_config (from {variable}) cannot be used: ")

    def test_batches_that_are_not_set_cause_no_problem(
        self, server: Server, tmp_path: Path
    ) -> None:
        run = self.run_with(tmp_path, self.settings(server.url, batch_config=None))

        assert (run.returncode, run.log("WARNING")) == (0, [])

    def test_batches_are_not_offered(self) -> None:
        about = json.loads(self.run("--about", "--format=json").stdout)

        assert "batch" not in about["capabilities"]
        assert "batch_config" not in about["settings"]["properties"]
