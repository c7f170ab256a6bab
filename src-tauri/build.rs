//! Embeds the window's page.

use std::path::Path;

const PLACEHOLDER: &str = "<!doctype html><meta charset=utf-8><title>Kith</title>\
<p>This build has no page in it. Run <code>./dev run</code>, which builds it first.";

fn main() -> std::io::Result<()> {
    // So that checks of Rust alone need no node: the page is built by `./dev`.
    let dist = Path::new("../ui/dist");
    if !dist.join("index.html").exists() {
        std::fs::create_dir_all(dist)?;
        std::fs::write(dist.join("index.html"), PLACEHOLDER)?;
    }
    println!("cargo:rerun-if-changed=../ui/dist");
    tauri_build::build();
    Ok(())
}
