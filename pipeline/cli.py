"""``kpv``: arguments, exit codes, and who prints what.

Imports stand inside the commands: ``kpv --help`` loads argparse and nothing else.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline.errors import PipelineError, UserError

if TYPE_CHECKING:
    from pipeline.console import Terminal
    from pipeline.report.summary import Summary
    from pipeline.series import Series
    from pipeline.store import Store
    from pipeline.validate import Request

INTERRUPTED = 130
"""128 + SIGINT: what a shell expects of a program that Ctrl-C ended."""

DESCRIPTION = """\
kpv takes a kernel patch series, builds the kernel with and without it, boots both in QEMU, runs programs
that make and destroy memcgs under reclaim, and says whether the series races, leaks or breaks: PASS, FAIL
or BROKEN (which is our fault, and no vote), and what a PASS is worth."""

EXAMPLES = """\
examples:
  kpv validate --series my.mbox                         on Debian's 6.12 kernel
  kpv validate --kernel ~/linux --range v6.12..topic    on your tree, which is only read
  kpv validate --series patches/iter-generation         a series that must fail
  kpv shell --series my.mbox                            boot it and look by hand
  kpv parse-console dmesg.txt                           read the reports out of any kernel log

exit status: 0 PASS, 1 FAIL, 2 a mistake in the arguments or the input, 3 BROKEN, 4 SKIP (nothing ran)"""


class Parser(argparse.ArgumentParser):
    """argparse, with errors as everywhere in kpv: one line, what and what to do."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"kpv: {message}; `{self.prog} --help` lists what there is\n")


def positive(text: str) -> int:
    """Read a whole number from 1 up."""
    if not text.isdigit() or int(text) < 1 or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def seed(text: str) -> int:
    """Read a seed: what fits 63 bits."""
    if not text.isdigit() or int(text) >= 1 << 63:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2^63 - 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the whole grammar of the command line."""
    top = Parser("kpv", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="store_true", help="print kpv's version")
    top.add_argument("--quiet", action="store_true", help="no progress, only results")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name: str, text: str, *groups: Callable[[argparse.ArgumentParser], None]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for group in groups:
            group(sub)
        return sub

    command("validate", "build base and series, boot both, give a verdict", what, where, trials)
    build = command("build", "build the kernel with the series and print where it is", what)
    build.add_argument("--cut", type=int, metavar="K", help="the base and the first K patches (default: all)")
    command("boot", "boot the kernel with the series, run the programs, print what they said", what, where, trials)
    cases = command("cases", "run the series that kpv is proven on, and say which came to what they must", where_cases)
    cases.add_argument("case", nargs="*", metavar="CASE", help="folders of patches/ (default: all)")
    command("shell", "boot the kernel with the series and get a shell on its console", what, where)
    command("doctor", "what this machine has, and what a run would use")
    command("programs", "the guest programs: what they are for, what they need, and the cases that they decide")
    command("list", "the profiles, machines, programs, fragments and cases there are")
    command("bench", "ratios measured in one run: rebuild, boot, start-up, console parser")
    for name, text in (
        ("parse-console", "read the reports out of a kernel log"),
        ("symbolize", "add file:line and inlined callers to the frames of a kernel log"),
    ):
        commands.add_parser(name, help=text, add_help=False)
    return top


def what(sub: argparse.ArgumentParser) -> None:
    """Arguments that say which kernel is built."""
    add = sub.add_argument_group("kernel and series").add_argument
    text = "debian:6.12, a git tree, a folder of sources or a tarball (default: %(default)s)"
    add("--kernel", default="debian:6.12", metavar="K", help=text)
    add("--base", metavar="REV", help="commit of the git tree that the series applies to (default: HEAD)")
    add("--series", type=Path, metavar="S", help="an mbox, a folder of patches or a quilt series file")
    add("--range", metavar="A..B", help="commits of the git tree instead of --series; the base is A")
    add("--profile", default="kasan", metavar="P", help="kasan, kcsan or plain (default: %(default)s)")
    text = "one more of ours: fs-xfs, fs-btrfs, net (may be repeated)"
    add("--fragment", action="append", default=[], metavar="F", help=text)
    text = "a fragment of your own, merged last (may be repeated)"
    add("--kconfig", action="append", default=[], type=Path, metavar="FILE", help=text)
    cores = len(os.sched_getaffinity(0))
    add("--jobs", type=positive, default=cores, metavar="N", help="parallel compilers (default: one a core)")


def where(sub: argparse.ArgumentParser) -> None:
    """Arguments that say what it runs on."""
    add = sub.add_argument_group("machine").add_argument
    add("--machine", default="2node", metavar="M", help="2node, 4node, memoryless (default: %(default)s)")
    add("--machines", type=Path, metavar="FILE", help="machines of your own, shaped as pipeline/machines.yaml")
    add("--accel", choices=("auto", "kvm", "tcg"), default="auto", help="auto boots a guest to find out")


def trials(sub: argparse.ArgumentParser) -> None:
    """Arguments that say what is run in it, and where results go."""
    add = sub.add_argument_group("trials").add_argument
    text = "run this program (may be repeated; default: all but upstream)"
    add("--program", action="append", default=[], metavar="P", help=text)
    add("--trials", type=positive, default=1, metavar="N", help="rounds of all programs (default: 1)")
    add("--seed", type=seed, default=1, metavar="N", help="seed of the first round (default: 1)")
    text = "seconds of guest time a program (default: its own)"
    add("--budget", type=positive, metavar="S", help=text)
    add("--every-cut", action="store_true", help="build after each patch, not only after the last")
    text = "known issues (title, reason, link, expires): listed when they are seen, not counted"
    add("--known", type=Path, metavar="FILE", help=text)
    add("--fresh", action="store_true", help="run the base again, even if these very trials of it are kept")
    add("--out", type=Path, default=Path("results"), metavar="DIR", help="(default: %(default)s)")


def where_cases(sub: argparse.ArgumentParser) -> None:
    """Arguments that are the same for every case."""
    add = sub.add_argument_group("cases").add_argument
    add("--folder", type=Path, metavar="DIR", help="cases of your own: DIR/<name>/ with patches and case.yaml")
    add("--trials", type=positive, metavar="N", help="trials of each program (default: as the case says)")
    add("--accel", choices=("auto", "kvm", "tcg"), default="auto", help="auto boots a guest to find out")
    cores = len(os.sched_getaffinity(0))
    add("--jobs", type=positive, default=cores, metavar="N", help="parallel compilers (default: one a core)")
    add("--fresh", action="store_true", help="run the base again, even if these very trials of it are kept")
    add("--out", type=Path, default=Path("results"), metavar="DIR", help="(default: %(default)s)")


def cache() -> "Store":
    """Return the store: ``$KPV_CACHE``, else the user's cache folder."""
    import platformdirs

    from pipeline.store import Store

    own = os.environ.get("KPV_CACHE")
    return Store(Path(own).absolute() if own else Path(platformdirs.user_cache_dir("kpv")))


def request(args: argparse.Namespace) -> "Request":
    """Turn arguments into a request; UserError for whatever does not exist, on this machine too."""
    from pipeline import catalog, console_cli, doctor
    from pipeline.declare import pick
    from pipeline.machine import Accel
    from pipeline.validate import Request

    doctor.require()
    known = catalog.load(getattr(args, "machines", None))
    profile = pick("profile", args.profile, known.profiles)
    asked = getattr(args, "program", [])
    return Request(
        kernel=args.kernel,
        base=args.base or (args.range.split("..")[0] if args.range else None),
        series=the_series(args),
        profile=profile,
        kconfig=catalog.configuration(profile, args.fragment, args.kconfig),
        machine=pick("machine", getattr(args, "machine", "2node"), known.machines),
        programs=tuple(pick("program", name, known.programs) for name in asked) or known.usual,
        trials=getattr(args, "trials", 1),
        seed=getattr(args, "seed", 1),
        budget=getattr(args, "budget", None),
        jobs=args.jobs,
        accel=None if getattr(args, "accel", "auto") == "auto" else Accel(args.accel),
        every_cut=getattr(args, "every_cut", False),
        fresh=getattr(args, "fresh", False),
        known=console_cli.known_list(str(args.known)) if getattr(args, "known", None) else (),
        again=again(args) if args.command == "validate" else (),
    )


def the_series(args: argparse.Namespace) -> "Series":
    """Read the series the arguments name; validate has a default one, the other commands do without."""
    from pipeline import catalog, tree
    from pipeline.series import Series

    if args.series and args.range:
        raise UserError("--series and --range are two series", todo="give one of them")
    if args.range:
        return tree.series_from_range(Path(args.kernel), args.range)
    if args.series:
        return tree.load_series(args.series)
    if args.command == "validate":
        return tree.load_series(catalog.PATCHES / "iter-lock")
    return Series("no series", ())


def again(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the arguments that give the same run, but for series and base; paths are absolute."""
    words = ["validate", "--kernel", args.kernel if ":" in args.kernel else str(Path(args.kernel).absolute())]
    words += ["--profile", args.profile, "--machine", args.machine, "--accel", args.accel]
    words += ["--machines", str(args.machines.absolute())] if args.machines else []
    words += [word for name in args.fragment for word in ("--fragment", name)]
    words += [word for path in args.kconfig for word in ("--kconfig", str(path.absolute()))]
    words += [word for name in args.program for word in ("--program", name)]
    words += ["--trials", str(args.trials), "--seed", str(args.seed)]
    words += ["--budget", str(args.budget)] if args.budget else []
    words += ["--known", str(args.known.absolute())] if args.known else []
    return (*words, *(["--every-cut"] if args.every_cut else []))


def validate(args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv validate``: exit status by the verdict."""
    from pipeline import account, results
    from pipeline.report import terminal
    from pipeline.validate import Job

    asked = request(args)
    job = Job(asked)

    def told(summary: "Summary") -> None:
        screen.close()
        print(terminal.render(summary, colour=sys.stdout.isatty()), end="")

    account.carry_out(job, cache(), results.begin(args.out, asked.series.name), screen, told)
    return job.verdict.outcome.exit_status


def cases(args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv cases``: 0 when every case came to what it must, 1 when one did not, 3 when it could not be told."""
    from dataclasses import replace

    from pipeline import cases, catalog, doctor
    from pipeline.machine import Accel
    from pipeline.verdict import Outcome

    doctor.require()
    folder = args.folder or catalog.PATCHES
    known = catalog.load()
    wanted = cases.chosen(catalog.cases(folder, known), args.case)
    if args.trials:
        wanted = tuple(replace(case, trials=args.trials) for case in wanted)
    accel = None if args.accel == "auto" else Accel(args.accel)
    jobs = [cases.request(x, folder, known, jobs=args.jobs, accel=accel, fresh=args.fresh) for x in wanted]
    rows = []
    try:
        for case, job in zip(wanted, jobs, strict=True):
            screen.line(f"{case.name}: {case.title}")
            row, results = cases.run(case, job, cache(), args.out, screen)
            rows.append(row)
            screen.line(f"{case.name}: {row.unmet or 'as it must'} ({results.folder})")
    finally:
        screen.close()
        if rows:
            print("\n".join(cases.table(rows)))
    wrong = [row for row in rows if row.unmet]
    if not wrong:
        return 0
    unknown = all(row.outcome in {Outcome.BROKEN, Outcome.SKIP} for row in wrong)
    return Outcome.BROKEN.exit_status if unknown else Outcome.FAIL.exit_status


def build(args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv build``: print the folder of the kernel."""
    from pipeline import kernel, tree

    asked, store = request(args), cache()
    source = tree.open_source(store, asked.kernel, asked.base, screen)
    cuts = tree.cuts(store, source, asked.series)
    cut = args.cut if args.cut is not None else asked.series.total
    if not 0 <= cut <= asked.series.total:
        raise UserError(f"there is no cut {cut}", todo=f"cuts of this series run from 0 to {asked.series.total}")
    image = kernel.build(store, source, cuts[cut], asked.kconfig, asked.profile, jobs=asked.jobs, progress=screen)
    screen.close()
    print(image.folder)
    return 0


def boot(args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv boot``: the series' kernel alone, no base and so no verdict."""
    from pipeline import ledger, results, validate
    from pipeline.verdict import Outcome

    asked = request(args)
    folder = results.begin(args.out, asked.series.name)
    job = validate.Job(asked)
    try:
        evidence = validate.look(job, cache(), folder, screen)
    except UserError:
        folder.discard()
        raise
    screen.close()
    findings = [f for start in evidence.starts for f in start.findings]
    findings += [f for trial in evidence.trials for f in trial.findings]
    for trial in evidence.trials:
        # The books are long, and for a parser; they stand in run-*.json.
        print("\n".join((*ledger.without(trial.run.ktap), *(f"leak: {leak}" for leak in trial.leaks))))
    for finding in findings:
        print(f"\n{finding.title}\n{finding.report}")
    print(f"consoles: {folder.folder}/boot-*/console.log")
    return Outcome.FAIL.exit_status if findings or any(trial.leaks for trial in evidence.trials) else 0


def shell(args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv shell``: the kernel's console is the terminal."""
    from pipeline import shell, validate

    return shell.run(validate.Job(request(args)), cache(), screen)


def doctor(_args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv doctor``: 0 when a run can begin, 2 when something is missing."""
    from rich.console import Console
    from rich.table import Table

    from pipeline import doctor

    screen.begin("examine this machine")
    rows = doctor.examine(cache(), Path("results"))
    screen.end()
    screen.close()
    table = Table(box=None, pad_edge=False)
    for name in ("", "what", "found", "to do"):
        table.add_column(name, overflow="fold")
    for row in rows:
        mark = "[green]ok[/]" if row.good else "[red]no[/]" if row.needed else "[yellow]no[/]"
        table.add_row(mark, row.what, row.found, "" if row.good else row.todo)
    Console(highlight=False).print(table)
    missing = [package for package, sign, _ in doctor.packages() if not doctor.present(sign)]
    if missing:
        print(f"\n{doctor.command(missing)}")
    return 0 if all(row.good or not row.needed for row in rows) else UserError.exit_status


def listing(_args: argparse.Namespace, _screen: "Terminal") -> int:
    """``kpv list``: every name that can be given."""
    from pipeline import catalog

    known = catalog.load()
    rows = (
        ("profiles", [(x.name, x.description) for x in known.profiles]),
        ("machines", [(x.name, x.description) for x in known.machines]),
        ("programs", [(x.name, x.description) for x in known.programs]),
        ("fragments", [(x, "") for x in known.fragments]),
        ("cases", [(f"patches/{x.name}", f"{x.title} (must {'FAIL' if x.expect.fails else 'PASS'})")
                   for x in catalog.cases(catalog.PATCHES, known)]),
    )  # fmt: skip
    for title, entries in rows:
        print(title)
        for name, text in entries:
            print(f"  {name:<26} {text}".rstrip())
    return 0


def programs(_args: argparse.Namespace, _screen: "Terminal") -> int:
    """``kpv programs``: each with what it needs, and the cases that it is run for."""
    from pipeline import catalog

    known = catalog.load()
    library = catalog.cases(catalog.PATCHES, known)
    for program in known.programs:
        print(f"{program.name}: {program.description}")
        print(f"  {program.budget} s, {program.threads} workers; needs {', '.join(program.needs) or 'nothing'}")
        deciding = [case.name for case in library if program.name in case.programs]
        print(f"  cases: {', '.join(deciding) or 'none'}")
    return 0


def bench(_args: argparse.Namespace, screen: "Terminal") -> int:
    """``kpv bench``."""
    from pipeline import bench

    for line in bench.run(cache(), screen):
        screen.close()
        print(line, flush=True)
    return 0


COMMANDS = {
    "validate": validate,
    "build": build,
    "cases": cases,
    "boot": boot,
    "shell": shell,
    "doctor": doctor,
    "list": listing,
    "programs": programs,
    "bench": bench,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run kpv; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["parse-console"], ["symbolize"]):
        from pipeline import console_cli

        return console_cli.main(words)
    top = parser()
    args = top.parse_args(words)
    if args.version:
        from pipeline import __version__

        print(f"kpv {__version__}")
        return 0
    if args.command is None:
        top.print_help()
        return UserError.exit_status
    from pipeline import proc
    from pipeline.console import Terminal, printable

    try:
        with proc.interrupts(), Terminal(quiet=args.quiet) as screen:
            return COMMANDS[args.command](args, screen)
    except PipelineError as error:
        print(f"kpv: {printable(str(error))}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("kpv: interrupted", file=sys.stderr)
        return INTERRUPTED
