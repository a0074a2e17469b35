"""Why a container ended, or an image was not built: codes SQ-1400 to SQ-1599."""

from __future__ import annotations

from typing import Final

from squall.model.explanations.explanation import Explanation

CONTAINERS: Final = {
    "SQ-1400": Explanation(
        """Something of which there is only so much is used up. The classes below this one say what: memory, processes,
disk, files.""",
        """try:
    square.remote(3)
except squall.model.errors.ResourceExhaustedError as error:
    print(error)  # what, how much, and the limit""",
    ),
    "SQ-1401": Explanation(
        """The container's memory - of all its processes and of the files it keeps in /tmp and /dev/shm - went over the limit, and
the kernel (or, where cgroups are missing, the agent) killed it. `limit_bytes` and `peak_bytes` have the figures. The input was
tried once more, alone in a container, before you saw this.""",
        """@app.function(memory=4096)  # MiB
def load(): ...""",
    ),
    "SQ-1402": Explanation(
        """Each process and each thread counts, also those of libraries: numerical ones start a thread for each core. A
container has a limit so that a runaway cannot take the machine with it.""",
        """@app.function(env={"OMP_NUM_THREADS": "4"})
def compute(): ...""",
    ),
    "SQ-1403": Explanation(
        """The disk under the state directory is full, or the container wrote more than its share of scratch space. `path` says
where.""",
        """$ df -h ~/.local/state/squall
$ SQUALL_STATE_DIR=/data/squall squall run job.py""",
    ),
    "SQ-1404": Explanation(
        """Each open file, socket and pipe takes one of the numbers that the system hands out to a process, and they are used
up. In your function it usually means that files are opened in a loop and not closed.""",
        """with open(path) as file:  # closed at the end of the block
    ...""",
    ),
    "SQ-1405": Explanation(
        """The process in the container ended in the middle of an input: `os._exit`, a crash in C code (signal 11 or 6), or a
signal from inside. `exit_code` and `signal` say how. A limit that was hit has its own error.""",
        """import faulthandler
faulthandler.enable()  # prints where C code crashed""",
    ),
    "SQ-1406": Explanation(
        """Before any code of yours ran, the machine refused something that a container needs: a namespace, a mount, a
process. The message has the step and the kernel's answer.""",
        """$ squall doctor""",
    ),
    "SQ-1407": Explanation(
        """The sandbox was stopped - by `terminate`, by its time limit or with its app - while something was asked of it.""",
        """sandbox = squall.Sandbox.create(app=app)""",
    ),
    "SQ-1408": Explanation(
        """The file or directory in the sandbox is not there, is of the wrong kind, or may not be written. `path` names it.""",
        """sandbox.exec("ls", "-la", "/work").wait()""",
    ),
    "SQ-1409": Explanation(
        """A snapshot needs the files to stand still for a moment, and room to keep them.""",
        """image = sandbox.snapshot_filesystem(timeout=120)""",
    ),
    "SQ-1410": Explanation(
        """Container after container ended before it could take an input: the import of your module fails there, or a
process kills it. After a few tries Squall gives up instead of going round for ever; the message has the last cause.""",
        """$ squall logs --function train
ModuleNotFoundError: No module named 'torch'""",
    ),
    "SQ-1411": Explanation(
        """The function asks for more than the largest machine has when it is empty, so waiting would not help.""",
        """$ squall status   # what the machine has
@app.function(cpu=4, memory=8192)""",
    ),
    "SQ-1500": Explanation(
        """An image is built step by step, each in a sandbox of its own. One ended with an error; the steps before it are
kept, so the next build begins there.""",
        """image = squall.Image.host().pip_install("numpy==2.1.0")""",
    ),
    "SQ-1501": Explanation(
        """The package index has no package of that name, no such version, or none that fits this Python and processor.""",
        """image.pip_install("pillow")     # not "PIL"
image.pip_install("torch>=2.4")""",
    ),
    "SQ-1502": Explanation(
        """The step belongs to the image system of a later version, or needs what this machine does not allow. Nothing is
built half-way: the step is refused before the build begins.""",
        """image = squall.Image.host().pip_install("requests")""",
    ),
    "SQ-1503": Explanation(
        """The package index or the server behind it did not answer, or refused. pip's own settings hold for builds too: index,
proxy, certificates.""",
        """$ pip config list
$ pip download --no-deps PACKAGE   # does it work without Squall?""",
    ),
    "SQ-1510": Explanation(
        """The registry asked who you are, and then said no: the login is missing, wrong or has expired, or its user may not do
this with the repository. Many registries answer so for a repository that does not exist, so that nobody can find out which do.
`host` and `repository` say which.""",
        """$ docker login registry.example.com   # or: podman login registry.example.com""",
    ),
    "SQ-1511": Explanation(
        """The registry was reached and let you in, and has nothing of that name: a typing error in the repository or the tag,
or a tag that was deleted.""",
        """$ skopeo list-tags docker://registry.example.com/team/app""",
    ),
    "SQ-1512": Explanation(
        """No connection to the registry could be made, its certificate is not one that this machine trusts, or it broke off or
fell silent at every try. Waiting and trying again has a bound; this is after the last try.""",
        """$ curl -v https://registry.example.com/v2/   # does it work without Squall?
$ export SSL_CERT_FILE=/etc/ssl/certs/company.pem   # a company's own authority""",
    ),
    "SQ-1513": Explanation(
        """Public registries count how much each address and user pulls. This one asks for a longer pause than it is sensible to
wait for, or asked again and again. `wait_s` has the seconds that it asked for, where it did.""",
        """$ docker login   # users may pull more than strangers""",
    ),
    "SQ-1514": Explanation(
        """What came is not what its digest names, is longer or shorter than announced, leads in a circle or to a place where a
registry must not lead, or is no answer in the registry's language. What was read of it was thrown away.""",
        """$ docker pull registry.example.com/team/app   # does another program get it?""",
    ),
    "SQ-1515": Explanation(
        """The registry knows who asks and what is meant, and still does not take it: a manifest that it finds invalid, a blob that
is too large, a tag that may not be overwritten, or deleting and uploading that are switched off.""",
        """$ skopeo copy dir:image docker://registry.example.com/team/app""",
    ),
    "SQ-1516": Explanation(
        why="A layer is an archive of paths. One that is damaged, that leads out of its directory (`..`, an absolute name, a way through a link), that names what is not there, or that programs read in different ways is refused as a whole; the message names the entry. Archives made with `tar --sparse` are among them.",
        example="$ tar -tvf layer.tar   # what is in it?\n$ tar -xf layer.tar -C new && tar -cf layer.tar -C new .   # the same files, written anew",
    ),
    "SQ-1517": Explanation(
        why="A few bytes can unpack to terabytes, or to millions of names. So entries, bytes, the ratio of unpacked to packed bytes and the memory for names have each a limit; the message says which one was reached, and nothing of the layer is kept.",
        example="$ gzip -dc layer.tar.gz | wc -c   # how much it really is",
    ),
    "SQ-1518": Explanation(
        why="An image is an index, a manifest and a config, in JSON, of OCI or of Docker's schema 2, with digests by sha256. The message says what is missing or wrong in which of them.",
        example="$ skopeo inspect --raw oci:DIRECTORY:TAG",
    ),
    "SQ-1520": Explanation(
        why="A base that is made from the distribution's packages fetches them from its mirrors. No connection could be made, or it broke off or fell silent at every try. What was fetched before is kept, so the next build goes on from there.",
        example="$ curl -v https://mirror.example.com/debian/dists/bookworm/InRelease   # does it work without Squall?\n$ export HTTPS_PROXY=http://proxy.example.com:3128   # a company's own way out",
    ),
    "SQ-1521": Explanation(
        why="The release file of a mirror has the digests of its indexes, and those have the digests of the packages. What came has another digest or size, is announced and not there, or is out of date; it was thrown away. Mirrors that are being updated do so for some minutes.",
        example="$ curl -sI https://mirror.example.com/debian/dists/bookworm/InRelease | grep -i date   # how old is it?",
    ),
    "SQ-1522": Explanation(
        why="The distribution signs its release files. Where gpgv and its keys are on the machine, a file that none of them has signed is refused. Where they are not, only https keeps the packages from being changed on their way, so a mirror in plain http is refused.",
        example="$ sudo apt-get install gpgv debian-archive-keyring",
    ),
    "SQ-1523": Explanation(
        why="A mirror has a folder for each release, and in it an index for each processor. Old releases move to an archive with another address, and some mirrors leave out processors.",
        example="$ curl -s https://mirror.example.com/debian/dists/   # what there is",
    ),
    "SQ-1524": Explanation(
        why="A package is an archive of paths. One that is damaged, that leads out of the root, that has a device in it, that says to be another package, or that has a file of another one is refused; nothing of the root is kept. The message names the package and what is wrong.",
        example='$ dpkg-deb --contents package.deb   # what is in it?\nimage = squall.Image.debian_slim().apt_install("package")   # unpacked by its own programs',
    ),
    "SQ-1525": Explanation(
        why="""Functions are run by an interpreter inside their image. It is sought in the image's base, among standalone builds, in the Python
that runs your program, and in the packages of the base's distribution. The message lists what there is, and why each did not do.""",
        example="""image = squall.Image.debian_slim(python_version="3.12")  # the version that runs this program, or one of the base's""",
    ),
    "SQ-1530": Explanation(
        why="""A name means an image once that is published under it, until the name is deleted. What it means is looked up when an app is
opened. The message says which names are near it. A name whose image is damaged, or was removed by hand, is told apart: it has to be published anew.""",
        example="""$ squall image names list
squall.Image.debian_slim().uv_pip_install("numpy").publish("base:1")  # once, in a program of its own
image = squall.Image.from_name("base:1")""",
    ),
}
