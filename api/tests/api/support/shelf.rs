//! An HTTP server for pictures and for other responses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

pub(crate) struct Shelf {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Notified at each request.
    pub(crate) called: Arc<Notify>,
}

impl Shelf {
    /// Listens on a free port of `host`, with `picture` at `/picture`.
    pub(crate) async fn open(host: &str, picture: Vec<u8>) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, called) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, notify) = (asked.clone(), called.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (picture, notify) = (picture.clone(), notify.clone());
                // It ends when the client disconnects.
                tokio::spawn(async move { answer(stream, &picture, &notify).await });
            }
        });
        Self { address, asked, called }
    }

    /// The number of connections so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn answer(stream: TcpStream, picture: &[u8], notify: &Notify) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    notify.notify_one();
    let path = head.split(' ').nth(1).unwrap();
    let length = picture.len();
    match path {
        "/picture" => {
            // The content type must not matter.
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(picture).await
        }
        "/secret" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await,
        "/missing" => stream.write_all(b"HTTP/1.1 404 secret\r\ncontent-length: 6\r\n\r\nsecret").await,
        "/partial" => {
            let head = format!("HTTP/1.1 206 Partial\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(picture).await
        }
        "/huge" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n").await?;
            std::future::pending().await
        }
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                stream.write_all(&[&b"1000\r\n"[..], &[0; 0x1000], b"\r\n"].concat()).await?;
            }
        }
        "/stalled" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun").await?;
            std::future::pending().await
        }
        "/silent" => std::future::pending().await,
        // `/redirect/N/…` redirects N times, then to the rest of the path.
        other => {
            let (times, target) = other.strip_prefix("/redirect/").unwrap().split_once('/').unwrap();
            let location = match times.parse::<u32>().unwrap() {
                0 | 1 => target.to_owned(),
                times => format!("/redirect/{}/{target}", times - 1),
            };
            let head = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
    }
}
