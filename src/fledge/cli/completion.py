"""`fledge completion`: a script that lets bash, zsh or fish complete verbs, fields and their
choices.
"""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from fledge.algorithms.registry import find_entry, names_of
from fledge.algorithms.settings import fields_of
from fledge.cli.verbs import VERBS
from fledge.recipes.algorithm_fields import AlgorithmFields
from fledge.runs.show import Show


class CompletionConfig(BaseModel):
    """Print a completion script; put `eval "$(fledge completion bash)"` into ~/.bashrc, or as the
    script says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shell: Literal["bash", "zsh", "fish"] = Field(description="the shell that completes")


def completion(config: CompletionConfig, show: Show) -> dict[str, Any]:
    """The script on standard output, and in the result."""
    table = {name: words_of(verb.config) for name, verb in VERBS.items()}
    script = {"bash": bash, "zsh": zsh, "fish": fish}[config.shell](table)
    show.line(script)
    return {"shell": config.shell, "script": script}


def words_of(config: type[BaseModel]) -> list[str]:
    """`field=` for each field, and `field=choice` where there are few."""
    words: list[str] = []
    fields = dict(config.model_fields)
    if issubclass(config, AlgorithmFields):  # whichever algorithm will be chosen
        names = names_of(config.subject)
        words += [f"{config.choice}={name}" for name in names]
        for name in names:
            usual = find_entry(config.subject, name).settings(config.subject)
            fields = {key: field for key, (_, field) in fields_of(usual).items()} | fields
    for name, field in fields.items():
        words.append(f"{name}=")
        if get_origin(field.annotation) is Literal:
            words += [f"{name}={choice}" for choice in get_args(field.annotation)]
        elif field.annotation is bool:
            words += [f"{name}=true", f"{name}=false"]
    return words


def bash(table: dict[str, list[str]]) -> str:
    """After `=` files are completed too; the shell's own word breaks at `=` are undone."""
    return f"""# put into ~/.bashrc: eval "$(fledge completion bash)"
_fledge() {{
  local words="" word verb="${{COMP_WORDS[1]}}"
  case "$verb" in {"|".join(_second(table))}) verb="$verb ${{COMP_WORDS[2]}}" ;; esac
  word="${{COMP_LINE:0:COMP_POINT}}"; word="${{word##* }}"
  case "$verb" in
{_cases(table)}
  esac
  [ "$COMP_CWORD" -eq 1 ] && words="{_first(table)}"
  [ "$COMP_CWORD" -eq 2 ] && case "${{COMP_WORDS[1]}}" in
{_seconds(table, "words=")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case "$word" in *=*)
    [ ${{#COMPREPLY[@]}} -eq 0 ] && COMPREPLY=($(compgen -f -- "${{word#*=}}"))
    COMPREPLY=("${{COMPREPLY[@]#*=}}") ;;
  *) [[ "${{COMPREPLY[0]}}" == *= ]] && compopt -o nospace ;; esac
}}
complete -o filenames -F _fledge fledge"""


def zsh(table: dict[str, list[str]]) -> str:
    """The same words; files after `=`."""
    return f"""# put into ~/.zshrc: eval "$(fledge completion zsh)"
_fledge() {{
  local verb="${{words[2]}}"; local -a known
  case "$verb" in {"|".join(_second(table))}) verb="$verb ${{words[3]}}" ;; esac
  case "$verb" in
{_cases(table, "known=({})")}
  esac
  (( CURRENT == 2 )) && known=({_first(table)})
  (( CURRENT == 3 )) && case "${{words[2]}}" in
{_seconds(table, "known=", "()")}
  esac
  compadd -S '' -- $known
  if [[ "$PREFIX" == *=* ]]; then compset -P '*='; _files; fi
}}
compdef _fledge fledge"""


def fish(table: dict[str, list[str]]) -> str:
    """One line a verb and its words."""
    lines = ["# put into ~/.config/fish/config.fish: fledge completion fish | source"]
    lines.append(f"complete -c fledge -n __fish_use_subcommand -f -a '{_first(table)}'")
    for name, words in _second(table).items():
        condition = f"__fish_seen_subcommand_from {name}"
        lines.append(f"complete -c fledge -n '{condition}' -f -a '{' '.join(words)}'")
    for name, words in table.items():
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        lines.append(f"complete -c fledge -n '{condition}' -a '{' '.join(words)}'")
    return "\n".join(lines)


def _first(table: dict[str, list[str]]) -> str:
    return " ".join(dict.fromkeys(name.split()[0] for name in table))


def _second(table: dict[str, list[str]]) -> dict[str, list[str]]:
    """The verbs of two words: {first: seconds}."""
    second: dict[str, list[str]] = {}
    for first, _, rest in (name.partition(" ") for name in table):
        if rest:
            second.setdefault(first, []).append(rest)
    return second


def _seconds(table: dict[str, list[str]], to: str, around: str = '""') -> str:
    """What may follow the first word of such a verb."""
    before, after = around
    return "\n".join(
        f"    {name}) {to}{before}{' '.join(words)}{after} ;;"
        for name, words in _second(table).items()
    )


def _cases(table: dict[str, list[str]], form: str = 'words="{}"') -> str:
    return "\n".join(
        f"    {name!r}) {form.format(' '.join(words))} ;;" for name, words in table.items()
    )
