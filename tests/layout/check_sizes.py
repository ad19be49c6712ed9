#!/usr/bin/env python3
"""Checks that a C++ file has at most 400 lines and a function at most 60, not counting the lines of tables.

    python3 tests/layout/check_sizes.py [--list] [REPOSITORY]

A function counts from the first line of its declaration to its closing brace. A table is a braced list that a static
or constexpr variable is initialized with or that a function returns. --list prints every function with its lines, the
longest first.
"""
import pathlib
import re
import sys

MAX_FILE = 400
MAX_FUNCTION = 60
FOLDERS = ("attention", "datasets", "envs", "agents", "experiments", "tests")
SUFFIXES = (".h", ".cc", ".cu", ".cuh")

# Comments, string and character literals, and preprocessor directives: none of their braces count.
NO_CODE = re.compile(
    r"""//[^\n]*
      | /\*.*?\*/
      | (?:u8|[uUL])?R"(?P<raw>[^\s()\\]{0,16})\(.*?\)(?P=raw)"
      | "(?:\\.|[^"\\\n])*"
      | (?<![0-9a-zA-Z_])'(?:\\.|[^'\\\n])+'
      | ^[ \t]*\#(?:\\\n|[^\n])*""",
    re.DOTALL | re.MULTILINE | re.VERBOSE)
TEMPLATE = re.compile(r"template\s*<")
SCOPE = re.compile(r'(?:(?:inline|static|typedef|const|constexpr)\s+)*(?:namespace|class|struct|union|enum)\b(?!:)|extern\s*""$')


def blank(match):
    """As many lines as the match, without its text; a literal leaves a pair of quotes."""
    text = match.group()
    return ('""' if '"' in text[:4] else "") + "\n" * text.count("\n")


def after_template(head):
    """A declaration without its template<..> in front."""
    while match := TEMPLATE.match(head):
        depth, at = 1, match.end()
        while depth and at < len(head):
            depth += {"<": 1, ">": -1}.get(head[at], 0) if head[at - 1] != "-" else 0
            at += 1
        head = head[at:].lstrip()
    return head


def kind_of(head):
    """What the brace behind `head` opens: a scope, a function, or a list of values within a declaration."""
    head = after_template(re.sub(r"\[\[.*?\]\]", "", head).strip())
    if SCOPE.match(head):
        return "scope"
    bare = re.sub(r"operator\s*[^\w\s(]+|[=!<>]=", "", head)
    if "(" not in bare or re.search(r"(?:=|,|\(|\breturn)$", bare) or re.search(r"=[^()]*$", bare):
        return "list"
    # a member that a constructor initializes with braces: Name(..) : a_(1), b_{
    if re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", bare) and re.search(r"[:,]\s*[\w:<>]+$", bare):
        return "list"
    return "function"


def line_of(code, at):
    return code.count("\n", 0, at) + 1


def table_lines(body):
    """Lines between the braces of a function's tables."""
    lines, at = 0, 0
    while match := re.compile(r"(?:\b(?:static|constexpr)\b[^;{}()]*=|\breturn)\s*\{").search(body, at):
        end = closing(body, match.end() - 1)
        lines += max(0, body.count("\n", match.end(), end) - 1)
        at = end
    return lines


def closing(code, at):
    """Where the brace at `at` closes."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(code, at):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    raise ValueError(f"line {line_of(code, at)}: expected a brace that closes this one, found none")


def functions(text):
    """[(name, first line, lines without those of tables)] of a file."""
    code = NO_CODE.sub(blank, text)
    found = []
    begin = at = 0  # begin: of the declaration that `at` is in
    while match := re.compile(r"[{};]|\b(?:public|private|protected):(?!:)").search(code, at):
        at = match.end()
        if match.group() != "{":
            begin = at
            continue
        head = code[begin:match.start()]
        kind = kind_of(head)
        if kind == "scope":
            begin = at
            continue
        end = closing(code, match.start())
        at = end + 1
        if kind == "list":
            continue
        first = begin + len(head) - len(head.lstrip())
        name = re.findall(r"(~?[\w:]+|operator\s*[^\w\s]+)\s*\(", after_template(head.strip())) or ["?"]
        lines = line_of(code, end) - line_of(code, first) + 1 - table_lines(code[match.start():end])
        title = name[0]
        if title.startswith("TEST"):
            title = re.sub(r"\s+", " ", head.strip())
        found.append((title, line_of(code, first), lines))
        begin = at
    return found


def main():
    arguments = [a for a in sys.argv[1:] if a != "--list"]
    root = pathlib.Path(arguments[0] if arguments else ".")
    files = sorted(file for folder in FOLDERS for file in (root / folder).rglob("*") if file.suffix in SUFFIXES)
    if not files:
        sys.exit(f"{root}: expected the project's folders, found no source file")
    wrong, longest = 0, []
    for file in files:
        path, text = file.relative_to(root).as_posix(), file.read_text()
        if text.count("\n") > MAX_FILE:
            wrong += 1
            print(f"{path}: expected at most {MAX_FILE} lines, found {text.count(chr(10))}")
        try:
            found = functions(text)
        except ValueError as error:
            sys.exit(f"{path}: {error}")
        for name, line, lines in found:
            longest.append((lines, f"{path}:{line}: {name}"))
            if lines > MAX_FUNCTION:
                wrong += 1
                print(f"{path}:{line}: {name}: expected at most {MAX_FUNCTION} lines, found {lines}")
    if "--list" in sys.argv:
        for lines, place in sorted(longest, reverse=True):
            print(lines, place)
    print(f"{len(files)} files, {len(longest)} functions, {wrong} too long")
    sys.exit(wrong != 0)


main()
