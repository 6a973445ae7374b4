//! Checks the files of a model.

use std::path::Path;

use glimpse_worker::inspection::{Inspected, inspect, is_on_the_hub};

use super::check::Check;

/// The lines of a model: one, or one for each file that is wrong.
pub fn check(model: &Path) -> Vec<Check> {
    let what = format!("model {}", model.display());
    if is_on_the_hub(model) {
        let remark =
            "a name on the Hugging Face Hub: a worker downloads it at its start, and nothing was checked";
        return vec![Check::Ok { what, remarks: vec![remark.to_owned()] }];
    }
    let Inspected { files, bytes, has_taesd, faults } = inspect(model);
    if !faults.is_empty() {
        let line = |fault: String| match fault.rsplit_once("; ") {
            Some((why, advice)) => {
                Check::Fail { what: what.clone(), why: why.to_owned(), advice: advice.to_owned() }
            }
            None => Check::Fail { what: what.clone(), why: fault, advice: ABSENT.to_owned() },
        };
        return faults.iter().map(|fault| line(fault.to_string())).collect();
    }
    let mut remarks = vec![format!("{files} files are whole, {:.1} MiB", bytes as f64 / f64::from(1 << 20))];
    if !has_taesd {
        remarks.push(
            "it has no TAESD, which previews need: give a worker --taesd madebyollin/taesdxl as well"
                .to_owned(),
        );
    }
    vec![Check::Ok { what, remarks }]
}

/// What to do about a file that is missing or cannot be read.
const ABSENT: &str = "download the model again, or name another one with --model";

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn demo() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
    }

    /// A copy of the demo model.
    fn copy(to: &Path) {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            fs::create_dir_all(to.join(&folder)).unwrap();
            for entry in fs::read_dir(demo().join(&folder)).unwrap() {
                let name = folder.join(entry.unwrap().file_name());
                if demo().join(&name).is_dir() {
                    folders.push(name);
                } else {
                    fs::copy(demo().join(&name), to.join(&name)).unwrap();
                }
            }
        }
    }

    fn lines(model: &Path) -> Vec<String> {
        check(model).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_demo_model_is_whole() {
        let lines = lines(&demo());
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.starts_with("ok model ") && line.contains("files are whole"), "{line}");
        assert!(!line.contains("TAESD"), "{line}");
    }

    #[test]
    fn a_file_that_is_cut_or_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path());
        let unet = folder.path().join("unet/diffusion_pytorch_model.safetensors");
        let whole = fs::read(&unet).unwrap();
        fs::write(&unet, &whole[..whole.len() - 100]).unwrap();
        fs::remove_file(folder.path().join("tokenizer/vocab.json")).unwrap();
        let config = folder.path().join("vae/config.json");
        fs::write(&config, "{\"sample").unwrap();
        let lines = lines(folder.path());
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (name, why) in [
            ("unet/diffusion_pytorch_model.safetensors", "is it cut?"),
            ("tokenizer/vocab.json", "not found"),
            ("vae/config.json", "not a whole JSON file"),
        ] {
            let line = lines.iter().find(|line| line.contains(name)).unwrap();
            assert!(line.starts_with("FAIL model ") && line.contains(why), "{line}");
            assert!(line.contains("download"), "{line}");
        }
    }

    #[test]
    fn without_a_taesd_there_is_a_remark() {
        let folder = tempfile::tempdir().unwrap();
        copy(folder.path());
        fs::remove_dir_all(folder.path().join("taesd")).unwrap();
        let lines = lines(folder.path());
        assert!(lines[0].starts_with("ok model ") && lines[0].contains("--taesd"), "{lines:?}");
    }

    #[test]
    fn a_name_on_the_hub_is_not_looked_up() {
        let lines = lines(Path::new("stabilityai/stable-diffusion-xl-base-1.0"));
        assert!(lines[0].starts_with("ok model stabilityai/") && lines[0].contains("Hub"), "{lines:?}");
    }

    #[test]
    fn a_model_that_is_not_there_fails() {
        let lines = lines(Path::new("/no/such/model"));
        assert!(lines[0].starts_with("FAIL model /no/such/model: "), "{lines:?}");
    }
}
