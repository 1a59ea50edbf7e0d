//! What the host's own binaries are linked with; link arguments do not reach other packages.

fn main() {
    if let Ok(libraries) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{libraries}");
    }
    println!("cargo::rustc-link-arg=-l:libgomp.so.1");
}
