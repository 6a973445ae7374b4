//! Kernels as programs of this machine: g++ compiles one source with the emulation of `worker/kernels/emulation`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

/// Undefined behaviour that the program is to stop at: misaligned packs, indices out of an array, overflowing sums. GPUs
/// fuse products with sums and this must not, or the results would depend on this machine.
const FLAGS: [&str; 7] = [
    "-std=c++17",
    "-O1",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-fsanitize=alignment,bounds,signed-integer-overflow",
    "-fsanitize-undefined-trap-on-error",
    // The fibres of the emulation jump between stacks, which the checks of `_FORTIFY_SOURCE` refuse.
    "-U_FORTIFY_SOURCE",
];

/// Where the kernels are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

/// A text in one of the kernels' files, and what is to be there instead.
pub(crate) struct Damage {
    pub(crate) file: &'static str,
    pub(crate) text: &'static str,
    pub(crate) instead: &'static str,
}

/// A copy of all kernels with one change.
pub(crate) fn damaged_sources(damage: &Damage) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for entry in fs::read_dir(sources()).expect("the kernels") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    let path = folder.path().join(damage.file);
    let text = fs::read_to_string(&path).expect("a source");
    assert_eq!(text.matches(damage.text).count(), 1, "{}: {:?}", damage.file, damage.text);
    fs::write(&path, text.replace(damage.text, damage.instead)).expect("a damaged source");
    folder
}

/// The part of the emulation that all programs share, compiled.
struct Runtime(TempDir);

impl Runtime {
    /// The one of the tests that are running.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Runtime>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().expect("no test has failed in here");
        shared.upgrade().unwrap_or_else(|| {
            let runtime = Arc::new(Self(TempDir::new().expect("a temporary folder")));
            let sources = ["block.cpp", "launch.cpp"].map(|file| sources().join("emulation").join(file));
            compile(runtime.0.path(), Command::new("g++").arg("-c").args(sources));
            *shared = Arc::downgrade(&runtime);
            runtime
        })
    }

    fn objects(&self) -> [PathBuf; 2] {
        ["block.o", "launch.o"].map(|file| self.0.path().join(file))
    }
}

/// Runs g++ in a folder.
fn compile(folder: &Path, command: &mut Command) {
    let output = command.args(FLAGS).current_dir(folder).output();
    let output =
        output.unwrap_or_else(|e| panic!("g++ compiles the kernels for this test, and cannot be run: {e}"));
    assert!(output.status.success(), "g++: {}", String::from_utf8_lossy(&output.stderr));
}

/// One source of kernels, which can be launched.
pub(crate) struct Program {
    folder: TempDir,
    _runtime: Arc<Runtime>,
}

impl Program {
    /// A source with the kernels of these names.
    pub(crate) fn build(source: &Path, functions: &[String]) -> Self {
        let runtime = Runtime::shared();
        let folder = TempDir::new().expect("a temporary folder");
        let plays: String = functions.iter().map(|name| format!("    PLAY({name});\n")).collect();
        let main = format!(
            "#include \"emulation/launch.h\"\n#include \"{}\"\nvoid play_kernels() {{\n{plays}}}\n",
            source.display()
        );
        fs::write(folder.path().join("main.cpp"), main).expect("a source");
        let mut command = Command::new("g++");
        command.arg("-I").arg(sources()).arg("main.cpp").args(runtime.objects()).args(["-o", "play"]);
        compile(folder.path(), &mut command);
        Self { folder, _runtime: runtime }
    }

    /// What the program answers to its input, or what it says is wrong.
    pub(crate) fn run(&self, input: &[u8]) -> Result<Vec<u8>, String> {
        let mut command = Command::new(self.folder.path().join("play"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // It reads all of its input before it writes. If it ends before, its message says why.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        let output = child.wait_with_output().expect("the program ends");
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!("{}{}", String::from_utf8_lossy(&output.stderr), output.status)),
        }
    }
}
