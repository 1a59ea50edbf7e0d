"""Makes a libtorch folder (include/, lib/, build-version) out of PyTorch's wheels.

    unpack.py SET VERSION WHEELS WORK FOLDER   WHEELS/*.whl -> WORK, then WORK becomes FOLDER in one rename
    unpack.py --check-space SET FOLDER         exit code 1 where the disk of FOLDER is too small

Works with Python 3.7 and later and needs nothing beside it.
"""

import fnmatch
import os
import re
import shutil
import sys
import zipfile

# What a set takes out of the wheels' folders of libraries, as file name patterns that must all be found, how much room
# wheels and libraries need together in GB, and the text of lib/libtorch.so.
# The wheel's own libtorch.so needs libtorch_cuda. A linker script in its place gives the same binary for every set:
# CUDA is opened when it is asked for.
SETS = {
    "cpu-linux-x86_64": {
        "libraries": ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcupti.so.13", "libcudart.so.13"],
        "room": 1.2,
        "script": ("libtorch.so", "INPUT(libtorch_cpu.so)\n"),
    },
    "cuda-linux-x86_64": {
        "libraries": [
            "libtorch_cpu.so", "libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so",
            "libc10.so", "libc10_cuda.so", "libcaffe2_nvrtc.so", "libgomp.so.1",
            "libcublas.so.*", "libcublasLt.so.*", "libcudart.so.*", "libcudnn*.so.*", "libcufft.so.*", "libcufile.so.*",
            "libcupti.so.*", "libcurand.so.*", "libcusolver.so.*", "libcusparse.so.*", "libcusparseLt.so.*",
            "libnccl.so.*", "libnvJitLink.so.*", "libnvrtc.so.*", "libnvrtc-builtins.so.*", "libnvshmem_host.so.*",
            "libnvtx3interop.so.*",
        ],
        "room": 6.5,
        "script": ("libtorch.so", "INPUT(libtorch_cpu.so)\n"),
    },
}

LIBRARY = re.compile(r"(torch|nvidia/[^/]+)/lib/(?P<name>[^/]+)")
HEADER = re.compile(r"torch/(?P<path>include/.+)")


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--check-space":
        check_space(SETS[arguments[1]]["room"], arguments[2])
    elif len(arguments) == 5:
        name, version, wheels, work, folder = arguments
        unpack(SETS[name], version, wheels, work)
        put_in_place(work, folder)
    else:
        sys.exit(__doc__)


def check_space(room, folder):
    free = shutil.disk_usage(folder).free / 1e9
    if free < room:
        sys.exit(f"setup: {folder} has {free:.1f} GB free, {room} GB are needed: make room, or set LORAHOST_CACHE")


def unpack(spec, version, wheels, work):
    found = set()
    for wheel in sorted(os.listdir(wheels)):
        with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
            for member in archive.infolist():
                path = destination(member.filename, spec["libraries"], found)
                if path and not member.is_dir():
                    copy(archive, member, os.path.join(work, path))
        # Wheel and libraries together need twice the room: give back each one as soon as it is read.
        os.remove(os.path.join(wheels, wheel))
    absent = [pattern for pattern in spec["libraries"] if pattern not in found]
    if absent:
        sys.exit(f"setup: the wheels do not hold {', '.join(absent)}")
    name, text = spec["script"]
    write(os.path.join(work, "lib", name), text)
    # Last: a folder with this file is complete.
    write(os.path.join(work, "build-version"), version + "\n")


def destination(member, patterns, found):
    """Where a member of a wheel goes, relative to the libtorch folder; None for what is left out."""
    library, header = LIBRARY.fullmatch(member), HEADER.fullmatch(member)
    if header:
        return header["path"]
    if library:
        for pattern in patterns:
            if fnmatch.fnmatchcase(library["name"], pattern):
                found.add(pattern)
                return os.path.join("lib", library["name"])
    return None


def copy(archive, member, path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def put_in_place(work, folder):
    try:
        os.rename(work, folder)
    except OSError:
        # Another set-up was faster: its folder is as good.
        if not os.path.isfile(os.path.join(folder, "build-version")):
            raise


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"setup: cannot unpack libtorch: {error}")
