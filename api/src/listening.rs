//! Where a server listens, and who may call it there.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, lookup_host};

use crate::{
    config::Config,
    keys::{KeyRing, KeysError, Opened},
    tls::{Tls, TlsError},
};

/// Why a server cannot listen: the process should not start.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// The certificate cannot be used or made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Everybody could call the API.
    #[error(
        "without keys everybody who reaches {listen} ({address}) could make pictures and read those of others: set \
         --keys-file FILE (`glimpse key NAME` prints a key and its entry), or --allow-anonymous if everybody may, or \
         listen on a loopback address such as --listen 127.0.0.1:8080"
    )]
    Open {
        /// What the operator wrote.
        listen: String,
        /// The address that other machines may reach.
        address: SocketAddr,
    },
    /// The address cannot be used.
    #[error("cannot listen on {listen}: {why}; choose another HOST:PORT with --listen")]
    Address {
        /// What the operator wrote.
        listen: String,
        /// The reason.
        why: io::Error,
    },
}

/// What a server listens with. It is checked, but it does not listen yet.
pub struct Entrance {
    listen: String,
    addresses: Vec<SocketAddr>,
    tls: Option<Tls>,
    keys: Option<Opened>,
}

impl Entrance {
    /// Opens the certificate and the keys, and checks who could reach the address. From here on SIGHUP reads the keys
    /// again, if there are any.
    ///
    /// # Errors
    /// See [`EntranceError`].
    pub async fn prepare(config: &Config) -> Result<Self, EntranceError> {
        let tls = config.open_tls()?;
        let keys = open_keys(config)?;
        let listen = config.listen.clone();
        let wrong = |why| EntranceError::Address { listen: listen.clone(), why };
        let addresses: Vec<_> = lookup_host(&listen).await.map_err(wrong)?.collect();
        let reachable = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        match reachable {
            Some(address) if keys.is_none() && !config.keys.allow_anonymous => {
                let address = *address;
                Err(EntranceError::Open { listen, address })
            }
            _ => Ok(Self { listen, addresses, tls, keys }),
        }
    }

    /// Listens.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub async fn bind(self) -> Result<Listening, EntranceError> {
        let Self { listen, addresses, tls, keys } = self;
        let listener = TcpListener::bind(&addresses[..]).await;
        let listener = listener.map_err(|why| EntranceError::Address { listen, why })?;
        Ok(Listening { listener, tls, keys })
    }
}

/// The keys that the flags name.
pub(crate) fn open_keys(config: &Config) -> Result<Option<Opened>, KeysError> {
    let keys = config.keys.keys_file.as_deref().map(KeyRing::open).transpose()?;
    if keys.is_some() && config.keys.allow_anonymous {
        tracing::warn!("--allow-anonymous has no effect: there are keys (--keys-file)");
    }
    Ok(keys)
}

/// Where a server accepts connections.
pub struct Listening {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) keys: Option<Opened>,
}

impl Listening {
    /// With a certificate, https is served on the same port as http: the first byte of a connection decides.
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        Self { listener, tls, keys: None }
    }

    /// What it serves, for the line that a program prints when it is ready: `http://ADDR`, with a certificate also
    /// `and https://ADDR`.
    ///
    /// # Errors
    /// When the system does not say the address.
    pub fn urls(&self) -> io::Result<String> {
        let address = self.address()?;
        Ok(match self.tls {
            Some(_) => format!("http://{address} and https://{address}"),
            None => format!("http://{address}"),
        })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl From<TcpListener> for Listening {
    /// For http alone.
    fn from(listener: TcpListener) -> Self {
        Self::new(listener, None)
    }
}
