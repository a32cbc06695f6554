//! The guide to writing functions works as printed: its commands run in an empty folder, part by part.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use weir_tests::weir::{Folder, binary, cache};

/// A fenced block: what stands behind the fence, and the lines within.
struct Block {
    info: String,
    text: String,
}

/// Commands that any machine with Rust and weir can run.
const COMMANDS: &str = "sh";
/// Commands that need cargo-component, which is too slow to install for every run of the tests.
const COMPONENT_COMMANDS: &str = "sh needs=cargo-component";

/// The blocks of each part of the page that has such commands.
fn parts(commands: &str) -> Vec<(String, Vec<Block>)> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guest-guide.md")).unwrap();
    let mut parts: Vec<(String, Vec<Block>)> = vec![];
    let mut open: Option<Block> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => parts.last_mut().unwrap().1.push(open.take().unwrap()),
            (None, Some(info)) => open = Some(Block { info: info.to_owned(), text: String::new() }),
            (Some(block), _) => block.text += &format!("{line}\n"),
            (None, None) => {
                if let Some(title) = line.strip_prefix("## ").or(line.strip_prefix("# ")) {
                    parts.push((title.to_owned(), vec![]));
                }
            }
        }
    }
    parts.retain(|(_, blocks)| blocks.iter().any(|block| block.info == commands));
    parts
}

/// Runs the commands of these parts, each part in an empty folder, with a toolchain that has these targets.
fn run(commands: &str, titles: &[&str], targets: &str) {
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let toolchain = Command::new(clone.join("scripts/setup-guest-toolchain.sh")).env("GUEST_TARGETS", targets).output().unwrap();
    assert!(toolchain.status.success(), "{}", String::from_utf8_lossy(&toolchain.stderr));
    let toolchain = String::from_utf8(toolchain.stdout).unwrap();
    let tools = cache().join("tools");
    let path = format!("{}:{}:{}", binary().parent().unwrap().display(), tools.join("bin").display(), std::env::var("PATH").unwrap());
    let parts = parts(commands);
    assert_eq!(parts.iter().map(|(title, _)| title.as_str()).collect::<Vec<_>>(), titles);
    for (title, blocks) in parts {
        let folder = Folder::new();
        for Block { info, text } in blocks {
            if let Some((_, file)) = info.split_once("file=") {
                fs::write(folder.path(file), text).unwrap();
                continue;
            }
            assert_eq!(info, commands, "{title}: a block that is neither a file nor commands");
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &text])
                .current_dir(folder.path(""))
                .env("WEIR", clone)
                .env("PATH", &path)
                .env("RUSTUP_TOOLCHAIN", toolchain.trim())
                .env_remove("CARGO_TARGET_DIR")
                // What is compiled on the way is kept for the next run; what comes of it lies where the page says.
                .env("CARGO_BUILD_BUILD_DIR", cache().join("guide"))
                .env("CARGO_INSTALL_ROOT", &tools)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{title}:\n{text}\n{said}");
        }
    }
}

#[test]
fn every_command_of_the_guide_runs_in_an_empty_folder() {
    run(COMMANDS, &["With the SDK", "With raw bindings"], "wasm32-wasip2");
}

#[test]
#[ignore = "needs cargo-component: make test-guest-routes"]
fn every_command_of_the_guide_for_cargo_component_runs_in_an_empty_folder() {
    run(COMPONENT_COMMANDS, &["With cargo-component"], "wasm32-wasip2 wasm32-wasip1");
}

#[test]
fn no_command_of_the_guide_is_left_out() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guest-guide.md")).unwrap();
    let known = |info: &str| info.contains(" file=") || [COMMANDS, COMPONENT_COMMANDS].contains(&info);
    let fences = page.lines().filter_map(|line| line.strip_prefix("```"));
    let infos = fences.filter(|info| !info.is_empty());
    assert_eq!(infos.filter(|info| !known(info)).collect::<Vec<_>>(), Vec::<&str>::new());
}
