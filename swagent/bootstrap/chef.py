"""`swagent bootstrap chef`: the pinned Chef and librarian-chef in a folder of their own, without a compiler.

    HOME/bin/        chef-solo, librarian-chef, ohai: work in an empty environment, leave nothing of it to recipes
    HOME/gems/       the gems of data/gems.sha256, whatever else the machine has
    HOME/lib/        boot.rb, load_path, what the programs run
    HOME/compiled/   Ruby's compile cache, 0700
    HOME/stamp       a digest of all that makes up the installation, written last

To move to other gems: replace data/gems.sha256 (lines as sha256sum prints them). It is the complete resolution: nothing
beyond it is installed. Left out is what chef-solo names but does not load: InSpec, train-winrm, AWS, Vault. The gems
with native code (ffi, ffi-yajl, ruby-shadow) are Debian's, which is why no compiler is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, Sequence, Tuple

from swagent import files, process
from swagent.errors import CommandFailed, DocumentError, LockHeld, NeedsRoot, SwagentError

if TYPE_CHECKING:  # its import is a tenth of the time that a call with nothing to do may take
    from swagent.settings import Settings

Say = Callable[[str], None]

DATA = Path(__file__).parent / "data"
RUBY = "/usr/bin/ruby"
# git and the certificates are librarian-chef's; without libarchive every run prints a dozen lines of warnings; without
# ruby-shadow every `user` resource fails, and no gem of Chef names it.
PACKAGES = ("ruby", "ruby-ffi", "ruby-ffi-yajl", "ruby-shadow", "libarchive13", "git", "ca-certificates")
# Prints what Ruby itself lacks, one a line; nothing where all is there.
RUBY_CHECK = """
puts "Ruby 3.1 or newer (it is #{RUBY_VERSION})" if Gem::Version.new(RUBY_VERSION) < Gem::Version.new("3.1")
{"ffi" => "ffi", "ffi_yajl" => "ffi-yajl", "shadow" => "ruby-shadow"}.each do |library, name|
  require library
rescue LoadError
  puts "the Ruby library #{name}"
end
"""
# What a run of chef-solo in local mode loads, for the compile cache; `--version` alone loads a fifth of it.
WARM_UP = """
%w[chef/application/solo chef/local_mode chef/client chef/providers chef/resources chef/chef_fs/config
   chef/chef_fs/chef_fs_data_store chef/chef_fs/file_system/repository/chef_repository_file_system_root_dir
   chef/policy_builder chef/run_context chef_zero/server license_acceptance/acceptor tty-prompt
   rackup ohai ohai/system concurrent resolv tomlrb].each do |library|
  require library
rescue LoadError
end
"""
# Each gem's library folders, relative to home; arguments: the folder of the gems, NAME-VERSION...
LIST_LOAD_PATH = """
gems = ARGV.shift
ARGV.each do |gem|
  specification = Gem::Specification.load("#{gems}/specifications/#{gem}.gemspec") or abort "#{gem} was not installed"
  specification.require_paths.each { |path| puts "gems/gems/#{gem}/#{path}" }
end
"""
FORMAT = 1  # raise it when the layout above changes


@dataclass(frozen=True)
class Program:
    """One of bin/: the library that holds it, the Ruby that starts it, words that print its version, Ruby's options."""

    name: str
    library: str
    start: str
    version: Tuple[str, ...]
    options: Tuple[str, ...] = ()


PROGRAMS = (
    Program(
        "chef-solo", "chef/application/solo", "Chef::Application::Solo.new.run(enforce_license: true)", ("--version",)
    ),
    # -W0: its old thor makes today's Ruby warn on every call.
    Program("librarian-chef", "librarian/chef/cli", "Librarian::Chef::Cli.bin!", ("version",), ("-W0",)),
    Program("ohai", "ohai/application", "Ohai::Application.new.run", ("--version",)),
)


@dataclass(frozen=True)
class Pin:
    """One gem: NAME-VERSION, and the SHA-256 of its .gem file in hex."""

    gem: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.gem}.gem"


def parse_pins(text: str, source: str) -> Tuple[Pin, ...]:
    """The pins of a file as sha256sum prints it; DocumentError names the line that is none, or is there twice."""
    pins: dict[str, Pin] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+-[0-9][A-Za-z0-9.]*)\.gem", line)
        if match is None:
            raise DocumentError(
                source, f"line {number}", "not a pinned gem", "write the SHA-256, two spaces, NAME-VERSION.gem"
            )
        pin = Pin(gem=match[2], sha256=match[1])
        name = pin.gem.rpartition("-")[0]
        if name in pins:
            raise DocumentError(source, f"line {number}", f"{name} is pinned twice", "remove one of the lines")
        pins[name] = pin
    return tuple(pins.values())


def render_program(program: Program) -> str:
    """The Ruby file: `$0` must be a real one, else a failing run of Chef dies a second time over it and hides why."""
    return f"""# What {program.name} runs, with the load path of boot.rb.
require "{program.library}"
{program.start}
"""


def render_wrapper(program: Program) -> str:
    """The sh file in bin/: finds its folder from its own path, so that an installation can be baked and moved."""
    options = "".join(f" {option}" for option in program.options)
    return f"""#!/bin/sh
# Written by swagent bootstrap chef. Ruby needs UTF-8 to read cookbooks, librarian-chef a HOME, ohai and recipes the
# sbin folders; a caller's settings for gem and bundler would change what is loaded here.
own=$(readlink -f "$0")
home=${{own%/bin/*}}
export LANG="${{LANG:-C.UTF-8}}" HOME="${{HOME:-/root}}"
export PATH="${{PATH:-{process.BASE_ENVIRONMENT['PATH']}}}"
unset GEM_HOME GEM_PATH RUBYOPT RUBYLIB BUNDLE_GEMFILE BUNDLE_PATH
exec {RUBY}{options} -r "$home/lib/boot.rb" "$home/lib/{program.name}.rb" "$@"
"""


def read_pins() -> Tuple[Pin, ...]:
    path = DATA / "gems.sha256"
    return parse_pins(path.read_text(encoding="utf-8"), str(path))


def contents(pins: Sequence[Pin]) -> Mapping[str, str]:
    """What we write ourselves, by path below home; the digest of it and of the pins is the stamp."""
    return {
        "lib/boot.rb": (DATA / "boot.rb").read_text(encoding="utf-8"),
        **{f"lib/{program.name}.rb": render_program(program) for program in PROGRAMS},
        **{f"bin/{program.name}": render_wrapper(program) for program in PROGRAMS},
        "gems.sha256": "".join(f"{pin.sha256}  {pin.file}\n" for pin in pins),
    }


def stamp(pins: Sequence[Pin]) -> str:
    parts = [str(FORMAT), *(f"{path}\n{text}" for path, text in sorted(contents(pins).items()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest() + "\n"


def installed(home: Path, pins: Sequence[Pin] = ()) -> bool:
    """Whether this very set is there and complete (milliseconds: no program is started)."""
    try:
        found = (home / "stamp").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return (
        found == stamp(pins or read_pins())
        and os.access(RUBY, os.X_OK)
        and all(os.access(home / "bin" / program.name, os.X_OK) for program in PROGRAMS)
    )


def check_sums(folder: Path, pins: Sequence[Pin]) -> None:
    """SwagentError names each gem whose file is not the pinned one, with both sums."""
    wrong = []
    for pin in pins:
        found = hashlib.sha256((folder / pin.file).read_bytes()).hexdigest()
        if found != pin.sha256:
            wrong.append(f"{pin.file} has SHA-256 {found} and not the pinned {pin.sha256}")
    if wrong:
        raise SwagentError(
            f"{'; '.join(wrong)}: nothing was installed; check where `gem sources` points, and what lies in between"
        )


def license_sentence(settings: Settings) -> str:
    if settings.chef_license:
        return f"Chef's licence: accepted by the setting chef_license: {settings.chef_license}"
    return (
        "Chef's licence: bootstrap accepts nothing, and Chef runs only after you did: read Chef's licence terms, then "
        "set `chef_license: accept-no-persist` in /etc/swagent/swagent.yaml, or CHEF_LICENSE=accept-no-persist for a "
        "chef-solo of your own"
    )


def missing_packages(packages: Sequence[str] = PACKAGES) -> Tuple[str, ...]:
    """Those of the Debian packages that are not installed."""
    ended = process.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages], timeout=30)
    there = {line.split(" ")[0] for line in ended.stdout.splitlines() if line.endswith(" installed")}
    return tuple(package for package in packages if package not in there)


def install_packages(packages: Sequence[str], say: Say) -> None:
    """apt-get, and the lists only where there are none or they are too old to find the files that they name."""
    environment = process.base_environment(DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    lists_are_new = False

    def update() -> None:
        nonlocal lists_are_new
        process.check([*apt, "update"], timeout=300, environment=environment)
        lists_are_new = True

    say(f"installing with apt-get: {' '.join(packages)}")
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        update()
    command = [*apt, "install", "--no-install-recommends", *packages]
    try:
        process.check(command, timeout=900, environment=environment)
    except CommandFailed:
        if lists_are_new:
            raise
        update()
        process.check(command, timeout=900, environment=environment)
    still = missing_packages(packages)
    if still:
        raise SwagentError(f"apt-get succeeded without installing {' '.join(still)}; look at /var/log/dpkg.log")


def prepare_machine(say: Say) -> None:
    """Debian's packages; elsewhere a check of what they would bring, and an error that names it."""
    if process.find(["apt-get"]) and process.find(["dpkg-query"]):
        missing = missing_packages()
        if missing:
            _need_root()
            install_packages(missing, say)
    lacks = [] if process.find(["git"]) else ["git"]
    if os.access(RUBY, os.X_OK):
        lacks += process.check([RUBY, "-e", RUBY_CHECK], timeout=60, environment=_ruby_environment()).splitlines()
    else:
        lacks.append(f"Ruby 3.1 or newer as {RUBY}")
    if lacks:
        raise SwagentError(
            f"this machine lacks {', '.join(lacks)}; install them with its package manager (Debian 12 and later name "
            f"them {' '.join(PACKAGES)}) and call `swagent bootstrap chef` again"
        )


def fetch(folder: Path, pins: Sequence[Pin], say: Say) -> Path:
    """The .gem files, in a folder below; tried four times, each time only what is not there yet."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    command = [RUBY, str(DATA / "fetch.rb"), str(folder), *(pin.gem for pin in pins)]
    say(f"fetching {len(pins)} gems")
    for attempt in Retrying(
        stop=stop_after_attempt(4),
        wait=wait_random_exponential(multiplier=1, max=15),
        retry=retry_if_exception_type(CommandFailed),
        before_sleep=lambda state: say(f"fetching again: {state.outcome.exception() if state.outcome else ''}"),
        reraise=True,
    ):
        with attempt:
            process.check(command, timeout=180, environment=_ruby_environment())
    return folder / "cache"


def build(home: Path, pins: Sequence[Pin], say: Say) -> None:
    """Make all of home, whose parent is there, in a folder that nobody uses yet; the stamp comes last."""
    import shutil

    home.mkdir(mode=0o755)
    scratch = home / "scratch"
    scratch.mkdir(mode=0o700)
    fetched = fetch(scratch, pins, say)
    check_sums(fetched, pins)
    say("installing the gems")
    # --ignore-dependencies: the pins are the resolution; without it librarian-chef brings in the newest Chef.
    command = ["gem", "install", "--local", "--no-document", "--ignore-dependencies", "--quiet"]
    command += ["--install-dir", str(home / "gems"), *(str(fetched / pin.file) for pin in pins)]
    process.check(command, timeout=300, environment=_ruby_environment(), umask=0o022)
    shutil.rmtree(scratch)
    for leftover in ("cache", "doc", "build_info"):
        shutil.rmtree(home / "gems" / leftover, ignore_errors=True)
    for unpacked in (home / "gems").rglob("*"):
        if not unpacked.is_symlink() and unpacked.stat().st_mode & 0o022:
            unpacked.chmod(unpacked.stat().st_mode & ~0o022)  # some gems hold files that anybody may write
    for folder in ("bin", "lib"):
        (home / folder).mkdir(mode=0o755)
    for path, text in contents(pins).items():
        files.write(home / path, text, 0o755 if path.startswith("bin/") else 0o644)
    files.write(home / "lib" / "load_path", "".join(f"{each}\n" for each in load_path(home, pins)), 0o644)
    for program in PROGRAMS:
        process.check([str(home / "bin" / program.name), *program.version], timeout=60, environment={})
    # Only now: what was compiled so far would carry the paths of this folder and not of the one it becomes.
    (home / "compiled").mkdir(mode=0o700)
    files.write(home / "stamp", stamp(pins), 0o644)


def load_path(home: Path, pins: Sequence[Pin]) -> Tuple[str, ...]:
    """The gems' library folders, relative to home, as their specifications say."""
    command = [RUBY, "-e", LIST_LOAD_PATH, str(home / "gems"), *(pin.gem for pin in pins)]
    return tuple(process.check(command, timeout=60, environment=_ruby_environment()).splitlines())


def warm_up(home: Path) -> None:
    """Fill the compile cache. It saves the first run a second; where it fails, the first run fills it."""
    for program in PROGRAMS:
        process.run([str(home / "bin" / program.name), *program.version], timeout=60, environment={})
    boot = str(home / "lib" / "boot.rb")
    process.run([RUBY, "-r", boot, "-e", WARM_UP], timeout=120, environment=_ruby_environment())


@contextmanager
def locked(path: Path, patience: float, say: Say) -> Iterator[None]:
    """One bootstrap at a time: waits `patience` seconds for another one, then LockHeld names it. The file stays."""
    with open(path, "a+", encoding="utf-8") as stream:
        until = time.monotonic() + patience
        told = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stream.seek(0)
                holder = stream.read().strip() or "unknown"
                if time.monotonic() > until:
                    raise LockHeld(
                        f"another bootstrap (process {holder}) holds {path} for more than {patience:g} s; "
                        "see what it waits for, or end it, and try again"
                    ) from None
                if not told:
                    say(f"waiting for another bootstrap (process {holder})")
                    told = True
                time.sleep(0.2)
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        yield


def install_to(home: Path, say: Say, pins: Sequence[Pin] = (), patience: float = 900.0) -> bool:
    """Make `home` hold the set; whether there was something to do. NeedsRoot, LockHeld, SwagentError.

    Built beside and renamed: at any instant home is whole, an older whole set, or not there.
    """
    home = home.absolute()
    pins = pins or read_pins()
    if installed(home, pins):
        return False
    _need_root()
    import shutil  # here, as in build: not for a call with nothing to do

    os.makedirs(home.parent, mode=0o755, exist_ok=True)
    beside, old = (home.with_name(f"{home.name}{suffix}") for suffix in (".new", ".old"))
    with locked(home.with_name(f"{home.name}.lock"), patience, say):
        if old.exists() and not home.exists():
            os.rename(old, home)  # killed between the two renames below
        if installed(home, pins):
            return False
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        prepare_machine(say)
        try:
            build(beside, pins, say)
            files.sync_folder(beside)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        if home.exists():
            os.rename(home, old)
        os.rename(beside, home)
        files.sync_folder(home.parent)
        shutil.rmtree(old, ignore_errors=True)
        warm_up(home)
    return True


def install(settings: Settings, say: Say) -> bool:
    """`swagent bootstrap chef`: whether there was something to do. Progress and the licence's sentence go to `say`."""
    started = time.monotonic()
    changed = install_to(settings.chef_home, say)
    if changed:
        say(f"Chef is in {settings.chef_home} ({time.monotonic() - started:.1f} s)")
    else:
        say(f"Chef is in {settings.chef_home} already")
    own = process.find(["cinc-solo", "/opt/cinc/bin/cinc-solo", "chef-solo", "/opt/chef/bin/chef-solo"])
    if own:
        say(f"{own} was here before and stays as it is")
    say(license_sentence(settings))
    return changed


def _ruby_environment() -> Mapping[str, str]:
    """The caller's HOME (its .gemrc names the sources) and certificates, and none of its GEM_*."""
    kept = ("GEMRC", "SSL_CERT_DIR")
    return process.base_environment(**{key: os.environ[key] for key in kept if key in os.environ})


def _need_root() -> None:
    if os.geteuid():
        raise NeedsRoot("`swagent bootstrap chef` changes the machine and must be root; call it with sudo")
