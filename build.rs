//! A library that was prepared for the build (`tools/mlx-linux`) is found by the binary too, however it is started.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=BOCA_LIBRARY_PATH");
    if let Ok(path) = std::env::var("BOCA_LIBRARY_PATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
}
