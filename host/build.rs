//! Compiles `cpp/` against libtorch, and lets the binary and the tests find libtorch at run time, in the folder that
//! they were linked with.

use std::env;
use std::path::Path;

/// The files of `cpp/`.
const SOURCES: &[&str] = &[
    "attention.cpp",
    "blob.cpp",
    "dispatch.cpp",
    "dropout.cpp",
    "flash.cpp",
    "gradients.cpp",
    "lora.cpp",
    "norm.cpp",
    "tile.cpp",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // torch-sys says where it found libtorch; it `links` "tch", hence the name.
    let Ok(libraries) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo::error=torch-sys names no libtorch folder: run scripts/setup");
        return;
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    println!("cargo::rustc-link-arg=-l:libgomp.so.1");
    // For the message that says where the CUDA half was looked for.
    println!("cargo::rustc-env=LORAHOST_LIBTORCH={libraries}");

    let include = Path::new(&libraries).join("../include");
    for header in ["dropout.h", "lorahost.h", "tile.h", "vectorised.h"] {
        println!("cargo::rerun-if-changed=cpp/{header}");
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(3)
        // A comparison or a root that could set a flag would keep a loop from becoming vectors; results are the same.
        .flag("-fno-trapping-math")
        .flag("-fno-math-errno")
        // at::parallel_for is one thread's loop without. The library comes with libtorch.
        .flag("-fopenmp")
        // libtorch's headers are not ours to mend.
        .warnings(false)
        .include(&include)
        .include(include.join("torch/csrc/api/include"));
    for source in SOURCES {
        println!("cargo::rerun-if-changed=cpp/{source}");
        build.file(Path::new("cpp").join(source));
    }
    build.compile("lorahost_cpp");
}
