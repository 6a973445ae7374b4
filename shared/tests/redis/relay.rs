//! A relay in front of Redis that can switch to another server: as a virtual IP, or as a network that fails.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Cut,
    Freeze,
}

/// Forwards connections to a server; closes all of them when dropped.
pub struct Relay {
    port: u16,
    leads_to: Arc<AtomicU16>,
    orders: broadcast::Sender<Order>,
    listening: JoinHandle<()>,
}

impl Relay {
    /// A relay on 127.0.0.1 that forwards to `port`.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(AtomicU16::new(port));
        let (orders, _) = broadcast::channel(4);
        let (target, heard) = (leads_to.clone(), orders.clone());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target.load(Ordering::SeqCst), heard.subscribe()));
            }
        });
        Self { port: own, leads_to, orders, listening }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Forwards new connections to another server.
    pub fn reroute(&self, port: u16) {
        self.leads_to.store(port, Ordering::SeqCst);
    }

    /// Forwards to another server, and closes the connections to the old one.
    pub fn lead_to(&self, port: u16) {
        self.reroute(port);
        // Sending fails if there are no connections.
        let _ = self.orders.send(Order::Cut);
    }

    /// Existing connections stay open but transfer no data; new ones work.
    pub fn freeze(&self) {
        self.orders.send(Order::Freeze).expect("connections to freeze");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn carry(mut client: TcpStream, port: u16, mut orders: broadcast::Receiver<Order>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let order = tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        order = orders.recv() => order,
    };
    if order == Ok(Order::Freeze) {
        while orders.recv().await.is_ok_and(|order| order != Order::Cut) {}
    }
}
