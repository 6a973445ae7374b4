//! Checks what the machine gives: a free port, and room on the disk.

use std::{
    net::ToSocketAddrs,
    path::{Path, PathBuf},
};

use glimpse_worker::hub::HubOptions;
use tokio::net::TcpListener;

use super::check::Check;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Below this nothing works: not even a log.
const NEEDED: u64 = 64 * MIB;
/// SDXL takes 7 GB, and a refiner 6 GB more.
const ENOUGH: u64 = 15 * GIB;

/// The line of an address to listen on.
pub async fn listen(address: &str) -> Check {
    let what = format!("listen {address}");
    let bound = match TcpListener::bind(address).await {
        Ok(bound) => bound,
        Err(error) => {
            return Check::Fail {
                what,
                why: format!("cannot listen there: {error}"),
                advice: "stop what listens there, or choose another HOST:PORT with --listen".to_owned(),
            };
        }
    };
    drop(bound);
    let addresses = address.to_socket_addrs().into_iter().flatten();
    let mut remarks = vec!["free".to_owned()];
    if addresses.map(|address| address.ip().to_canonical()).any(|ip| !ip.is_loopback()) {
        remarks.push(
            "other machines reach it: serve and glimpse-api need --keys-file or --allow-anonymous there"
                .to_owned(),
        );
    }
    Check::Ok { what, remarks }
}

/// The line of the disk that models are downloaded to.
pub fn disk() -> Check {
    let cache = HubOptions::from_env().cache;
    // The folder is made at the first download.
    let folder = cache.ancestors().find(|folder| folder.is_dir()).map_or(PathBuf::from("."), Path::to_owned);
    let what = format!("disk {}", folder.display());
    match rustix::fs::statvfs(&folder) {
        Ok(disk) => room(what, disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Check::Fail {
            what,
            why: format!("its free space cannot be read: {error}"),
            advice: "name a folder on a disk that works in HF_HOME".to_owned(),
        },
    }
}

fn room(what: String, free: u64) -> Check {
    if free < NEEDED {
        let why = format!("only {} MiB are free", free / MIB);
        let advice = "delete files, or name a folder on another disk in HF_HOME".to_owned();
        return Check::Fail { what, why, advice };
    }
    let mut remarks = vec![format!("{:.1} GiB are free", free as f64 / GIB as f64)];
    if free < ENOUGH {
        remarks.push("SDXL takes 7 GB when it is downloaded: HF_HOME can name another disk".to_owned());
    }
    Check::Ok { what, remarks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_in_words() {
        let line = |free| room("disk /".to_owned(), free).to_string();
        assert_eq!(line(32 * GIB), "ok disk /: 32.0 GiB are free");
        assert!(line(2 * GIB).starts_with("ok disk /: 2.0 GiB are free; SDXL takes 7 GB"));
        assert!(line(MIB).starts_with("FAIL disk /: only 1 MiB are free; delete files"));
    }

    #[tokio::test]
    async fn a_port_in_use_fails_and_a_free_one_is_ok() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let line = listen(&address).await.to_string();
        assert!(line.starts_with(&format!("FAIL listen {address}: ")) && line.contains("--listen"), "{line}");
        drop(taken);
        assert_eq!(listen(&address).await.to_string(), format!("ok listen {address}: free"));
        let open = listen("0.0.0.0:0").await.to_string();
        assert!(open.contains("--keys-file") && open.contains("--allow-anonymous"), "{open}");
    }
}
