//! Server-sent events with their comments, which the crates for SSE drop: `: gap` is part of our protocol.

use std::time::Duration;

use reqwest::Response;

use crate::story::{Heard, Seen};

/// Our server is never silent for this long: it sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(25);

/// A body that is being read.
pub struct Body {
    response: Response,
    text: Vec<u8>,
}

/// A block of a body.
#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    /// An event of our own wire.
    Heard(Heard),
    /// Data without a number: an event of fal's wire.
    Data(String),
}

impl Body {
    pub fn of(response: Response) -> Self {
        Self { response, text: Vec::new() }
    }

    /// The next block; `None` at the end of the body, complete or interrupted.
    pub async fn next(&mut self) -> Option<Block> {
        loop {
            while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(block) = read(&String::from_utf8_lossy(&block)) {
                    return Some(block);
                }
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk()).await.ok()?.ok()??;
            self.text.extend_from_slice(&chunk);
        }
    }
}

fn read(block: &str) -> Option<Block> {
    if block.trim() == ": gap" {
        return Some(Block::Heard(Heard::Gap));
    }
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = field("data")?;
    match field("id") {
        Some(id) => Seen::read(id, data).map(|seen| Block::Heard(Heard::Event(seen))),
        None => Some(Block::Data(data.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::What;

    #[test]
    fn a_block_is_a_gap_an_event_data_or_nothing() {
        let event = Seen { seq: 7, what: What::Cancelled("client") };
        let text = "id: 7\nevent: cancelled\ndata: {\"type\":\"cancelled\",\"by\":\"client\"}\n\n";
        assert_eq!(read(text), Some(Block::Heard(Heard::Event(event))));
        assert_eq!(read(": gap\n\n"), Some(Block::Heard(Heard::Gap)));
        assert_eq!(read("data: {}\n\n"), Some(Block::Data("{}".to_owned())));
        assert_eq!(read("retry: 1000\n\n"), None);
        assert_eq!(read(": keep-alive\n\n"), None);
    }
}
