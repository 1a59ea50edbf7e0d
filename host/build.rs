//! Compiles `cpp/` against libtorch, and lets the binary and the tests find libtorch at run time, in the folder that
//! they were linked with.

use std::env;
use std::path::Path;

/// The files of `cpp/`.
const SOURCES: &[&str] = &["dispatch.cpp", "dropout.cpp", "gradients.cpp"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // torch-sys says where it found libtorch; it `links` "tch", hence the name.
    let Ok(libraries) = env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo::error=torch-sys names no libtorch folder: run scripts/setup");
        return;
    };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    // For the message that says where the CUDA half was looked for.
    println!("cargo::rustc-env=LORAHOST_LIBTORCH={libraries}");

    let include = Path::new(&libraries).join("../include");
    println!("cargo::rerun-if-changed=cpp/lorahost.h");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(3)
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
