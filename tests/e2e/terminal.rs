//! `glimpse generate` in terminals: pictures in the form of each, a bar, and nothing of both elsewhere.

use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD};
use image::RgbImage;

use super::stack::binary;

/// What a terminal of 80 by 24 characters is sent by `glimpse generate ARGS`. Standard output is a file, or `-` for the
/// terminal.
#[cfg(test)]
fn in_terminal(env: &[(&str, &str)], out: &str, args: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/terminal.py"), out]);
    command.arg(binary("glimpse")).arg("generate").args(args);
    for name in ["TERM_PROGRAM", "LC_TERMINAL", "GLIMPSE_SERVER"] {
        command.env_remove(name);
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).envs(env.iter().copied()).output().unwrap();
    let sent = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{sent}{}", String::from_utf8_lossy(&output.stderr));
    sent
}

/// The pictures between these words, in base64. Kitty's are in pieces.
#[cfg(test)]
fn pictures(sent: &str, begin: &str, end: &str) -> Vec<RgbImage> {
    let parts = sent.split(begin).skip(1).map(|part| part.split_once(end).unwrap().0);
    let whole =
        parts.map(|part| part.replace("\x1b\\\x1b_Gq=2,m=1;", "").replace("\x1b\\\x1b_Gq=2,m=0;", ""));
    let data = whole.map(|part| STANDARD.decode(part).unwrap());
    data.map(|png| image::load_from_memory(&png).unwrap().to_rgb8()).collect()
}

const KITTY: (&str, &str) = ("TERM", "xterm-kitty");
const XTERM: (&str, &str) = ("TERM", "xterm-256color");
const SMALL: [&str; 9] = ["a red heart", "--seed", "3", "--steps", "6", "--width", "64", "--height", "64"];

#[test]
fn a_forming_picture_is_redrawn_in_place_in_the_form_of_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heart.png").display().to_string();
    let args = [&SMALL[..], &["-o", &path]].concat();

    let sent = in_terminal(&[KITTY], "-", &args);
    let made = image::open(&path).unwrap().to_rgb8();
    // Each has the same number, and leaves the cursor.
    let number = sent.split("t=d,i=").nth(1).unwrap().split_once(',').unwrap().0;
    let keys = format!("\x1b7\r\x1b[16A\x1b_Ga=T,f=100,t=d,i={number},p=1,q=2,C=1,c=32,r=16,m=1;");
    let shown = pictures(&sent, &keys, "\x1b\\\x1b8");
    assert_eq!(shown.len(), 3, "two previews and the picture");
    assert!(shown[2] == made && shown[0] != made);
    assert_eq!(sent.matches("\x1b_Ga=").count(), 3);
    assert!(sent.contains("/6 steps") && sent.contains("heart.png (seed 3)"), "{sent:?}");
    // The place is made once: 16 lines.
    assert_eq!(sent.matches(&"\r\n".repeat(16)).count(), 1);

    let sent = in_terminal(&[XTERM, ("TERM_PROGRAM", "iTerm.app")], "-", &args);
    let size = sent.split("size=").nth(1).unwrap().split_once(';').unwrap().0;
    let first = "\x1b]1337;File=inline=1;size=";
    let keys = "width=32;height=16;preserveAspectRatio=0;doNotMoveCursor=1:";
    assert!(size.parse::<usize>().unwrap() > 100 && sent.matches(first).count() == 3);
    assert!(pictures(&sent, keys, "\x07")[2] == made);

    let sixels = "\x1bP0;1;0q\"1;1;192;192#";
    let sent = in_terminal(&[("TERM", "foot")], "-", &args);
    assert_eq!(sent.matches(sixels).count(), 3);
    let sent = in_terminal(&[XTERM], "-", &[&args[..], &["--inline", "sixel"]].concat());
    assert_eq!(sent.matches(sixels).count(), 3);
    for (terminal, flag) in [(XTERM, "auto"), (KITTY, "never")] {
        let sent = in_terminal(&[terminal], "-", &[&args[..], &["--inline", flag]].concat());
        assert!(!["\x1b_", "\x1bP", "\x1b]", "\x1b7"].iter().any(|begin| sent.contains(begin)), "{sent:?}");
        assert!(sent.contains("/6 steps") && sent.contains("heart.png (seed 3)"));
    }
}

#[test]
fn standard_output_has_the_picture_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let args = [&SMALL[..], &["-o", "-", "--output-format", "png"]].concat();
    let sent = in_terminal(&[KITTY], path.to_str().unwrap(), &args);
    let made = std::fs::read(&path).unwrap();
    assert_eq!(image::load_from_memory(&made).unwrap().width(), 64);
    assert!(sent.contains("\x1b_G") && sent.contains("standard output (seed 3)"));

    // Standard error is no terminal.
    let mut command = Command::new(binary("glimpse"));
    command.arg("generate").args(&args).args(["--inline", "kitty"]).env(KITTY.0, KITTY.1);
    command.env_remove("GLIMPSE_SERVER");
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.stdout == made, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stderr));
}
