//! A library that was prepared for the build (`tools/mlx-linux`) is found by what is linked with it, however that is
//! started. Every package that links the engine uses this file.

fn main() {
    println!("cargo::rerun-if-env-changed=BOCA_LIBRARY_PATH");
    if let Ok(path) = std::env::var("BOCA_LIBRARY_PATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
}
