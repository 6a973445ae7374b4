//! A TCP proxy that disturbs connections to a server on request.
//!
//! It uses two threads with blocking sockets per connection: a fleet in a test has a hundred connections, not
//! thousands.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// How the proxy treats the data of every connection. No data is lost on an open connection: as in TCP, held data
/// arrives late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Data arrives.
    Clear,
    /// Data arrives later by this time.
    Slow(Duration),
    /// No data arrives, in either direction, not even the end of a connection.
    Silent,
    /// Data from clients arrives; responses do not.
    Deaf,
}

/// A proxy in front of one server. Its connections are closed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    refusing: bool,
    gone: bool,
    next: usize,
    open: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    number: usize,
    client: TcpStream,
    server: TcpStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for the server at `port`, without disturbing anything.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port");
        let state =
            State { weather: Weather::Clear, refusing: false, gone: false, next: 0, open: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.lock().gone {
                    return;
                }
                let shared = accepting.clone();
                // The client may have disconnected already.
                let Ok(client) = client else { continue };
                thread::spawn(move || {
                    if !shared.lock().refusing
                        && let Ok(server) = TcpStream::connect(("127.0.0.1", port))
                    {
                        shared.carry(client, server);
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes how data is treated.
    pub fn set(&self, weather: Weather) {
        self.shared.lock().weather = weather;
        self.shared.changed.notify_all();
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, refusing: bool) {
        self.shared.lock().refusing = refusing;
    }

    /// Closes every connection in both directions; data in flight is lost.
    pub fn cut(&self) {
        for connection in self.shared.lock().open.drain(..) {
            connection.end();
        }
        self.shared.changed.notify_all();
    }

    /// Closes the direction from the server to the client on every connection: the client reads the end, and its data
    /// still arrives.
    pub fn half_close(&self) {
        for connection in &self.shared.lock().open {
            // A connection that has ended meanwhile is closed already.
            let _ = connection.client.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().gone = true;
        self.cut();
        // Wakes the listener so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl Connection {
    fn end(&self) {
        for stream in [&self.client, &self.server] {
            // The other side may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }

    /// Forwards a connection's data until it ends.
    fn carry(&self, client: TcpStream, server: TcpStream) {
        let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
        let (Ok(to_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            state.open.push(Connection { number, client, server });
            number
        };
        thread::scope(|scope| {
            scope.spawn(|| self.pump(number, Way::There, from_client, to_server));
            self.pump(number, Way::Back, from_server, to_client);
        });
        self.lock().open.retain(|connection| connection.number != number);
    }

    fn pump(&self, number: usize, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 << 10];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            if !self.lets_pass(number, way) {
                return;
            }
            if read == 0 {
                // The end is forwarded like data; the other direction may still be in use.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if to.write_all(&buffer[..read]).is_err() {
                // The reader is gone: close this direction for the writer.
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
        }
    }

    /// Waits until data may pass; `false` if the connection was cut.
    fn lets_pass(&self, number: usize, way: Way) -> bool {
        let is_open = |state: &State| state.open.iter().any(|connection| connection.number == number);
        let held = |weather| weather == Weather::Silent || (weather == Weather::Deaf && way == Way::Back);
        let state = self.lock();
        let waiting = |state: &mut State| is_open(state) && held(state.weather);
        let state = self.changed.wait_while(state, waiting).expect("no thread panics with it");
        let Weather::Slow(by) = state.weather else { return is_open(&state) };
        drop(state);
        thread::sleep(by);
        is_open(&self.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        thread,
        time::{Duration, Instant},
    };

    use super::{Proxy, Weather};
    use crate::{SOON, until};

    const SHORT: Duration = Duration::from_millis(100);

    /// A client of a server that answers each byte with the next number.
    fn proxied() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] + 1]).is_ok() {}
                });
            }
        });
        let proxy = Proxy::before(port);
        let client = connect(&proxy);
        (proxy, client)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        client
    }

    fn ask(client: &mut TcpStream, byte: u8) -> Option<u8> {
        let mut answer = [0];
        client.write_all(&[byte]).ok()?;
        client.read_exact(&mut answer).ok()?;
        Some(answer[0])
    }

    #[test]
    fn bytes_pass_at_once_or_late() {
        let (proxy, mut client) = proxied();
        assert_eq!(ask(&mut client, 1), Some(2));
        proxy.set(Weather::Slow(SHORT));
        let begun = Instant::now();
        assert_eq!(ask(&mut client, 3), Some(4));
        assert!(begun.elapsed() >= 2 * SHORT, "there and back");
    }

    #[test]
    fn held_bytes_arrive_later() {
        for weather in [Weather::Silent, Weather::Deaf] {
            let (proxy, mut client) = proxied();
            assert_eq!(ask(&mut client, 1), Some(2));
            proxy.set(weather);
            client.set_read_timeout(Some(SHORT)).unwrap();
            assert_eq!(ask(&mut client, 3), None, "{weather:?}");
            proxy.set(Weather::Clear);
            client.set_read_timeout(Some(SOON)).unwrap();
            let mut answer = [0];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [4]);
        }
    }

    #[test]
    fn a_cut_drops_held_bytes() {
        let (proxy, mut client) = proxied();
        assert_eq!(ask(&mut client, 1), Some(2));
        proxy.set(Weather::Silent);
        client.write_all(&[3]).unwrap();
        proxy.cut();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        proxy.set(Weather::Clear);
        assert_eq!(ask(&mut connect(&proxy), 5), Some(6), "a new connection");
        until("the dead connection to be forgotten", SOON, || proxy.shared.lock().open.len() <= 1);
    }

    #[test]
    fn a_half_closed_connection_reads_an_end_and_still_sends() {
        let (proxy, mut client) = proxied();
        assert_eq!(ask(&mut client, 1), Some(2));
        proxy.half_close();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(&[3]).expect("the other way is open");
    }

    #[test]
    fn a_refusing_proxy_closes_only_new_connections() {
        let (proxy, mut client) = proxied();
        assert_eq!(ask(&mut client, 1), Some(2));
        proxy.refuse(true);
        assert_eq!(ask(&mut connect(&proxy), 3), None);
        assert_eq!(ask(&mut client, 3), Some(4));
        proxy.refuse(false);
        assert_eq!(ask(&mut connect(&proxy), 5), Some(6));
    }
}
