//! Redis' MONITOR: every command that a server runs, those of scripts too.

use std::{
    io::{BufRead, BufReader, Error, Result},
    net::TcpStream,
};

use crate::{
    RedisServer, Reply,
    resp::{connect, read, send},
};

/// The commands that a server runs, from now on.
#[derive(Debug)]
pub struct Monitor(BufReader<TcpStream>);

impl RedisServer {
    /// Starts. Every command that the server runs after this returns is seen, while the server lives.
    ///
    /// # Errors
    /// If the server does not respond.
    pub fn monitor(&self) -> Result<Monitor> {
        let mut stream = connect(self.port())?;
        send(&mut stream, &["MONITOR"])?;
        let mut monitor = Monitor(BufReader::new(stream));
        let confirmed = read(&mut monitor.0)?;
        if confirmed != Reply::Text("OK".to_owned()) {
            return Err(Error::other(format!("no monitor: {confirmed:?}")));
        }
        // A server may be idle for as long as it likes.
        monitor.0.get_ref().set_read_timeout(None)?;
        Ok(monitor)
    }
}

impl Monitor {
    /// The words of the next command.
    ///
    /// # Errors
    /// If the server has ended.
    pub fn next_command(&mut self) -> Result<Vec<String>> {
        let mut line = Vec::new();
        if self.0.read_until(b'\n', &mut line)? == 0 {
            return Err(Error::other("the server has gone"));
        }
        Ok(words(&line))
    }
}

/// The words of `+TIME [DB CLIENT] "WORD" "WORD" …`, in which a backslash escapes special characters.
fn words(line: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (&mut word, byte) {
            (None, b'"') => word = Some(Vec::new()),
            (None, _) => {}
            (Some(whole), b'"') => {
                words.push(String::from_utf8_lossy(whole).into_owned());
                word = None;
            }
            (Some(whole), b'\\') => match bytes.next().unwrap_or_default() {
                b'x' => {
                    let digits = [bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()];
                    let digits = std::str::from_utf8(&digits).unwrap_or_default();
                    whole.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
                }
                b'n' => whole.push(b'\n'),
                b'r' => whole.push(b'\r'),
                b't' => whole.push(b'\t'),
                other => whole.push(other),
            },
            (Some(whole), byte) => whole.push(byte),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::RedisServer;

    #[test]
    fn words_are_read_as_they_were_sent() {
        let line = br#"+1.5 [0 lua] "XADD" "a \"key\"" "\\ \xc3\xa4\n" "[x]""#;
        assert_eq!(words(line), ["XADD", "a \"key\"", "\\ ä\n", "[x]"]);
    }

    #[test]
    fn what_a_script_runs_is_seen_too() {
        let redis = RedisServer::start();
        let mut monitor = redis.monitor().unwrap();
        redis.ask(&["EVAL", "redis.call('SET', 'k', ARGV[1])", "1", "k", "{\"a\":1}"]);
        while monitor.next_command().unwrap() != ["SET", "k", "{\"a\":1}"] {}
    }
}
