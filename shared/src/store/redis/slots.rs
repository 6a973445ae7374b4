//! The slot of a key, and the slot map: which node holds which slots.

use std::ops::RangeInclusive;

use redis::{ConnectionAddr, Value};

/// Ranges of slots and the nodes that hold them.
pub(super) type Map = Vec<(RangeInclusive<u16>, ConnectionAddr)>;

/// Reads the reply of `CLUSTER SLOTS`. The first node of each range is the master. A node without a name is the `asked`
/// one.
pub(super) fn parse_map(map: Value, asked: &ConnectionAddr) -> Map {
    type Node = (Option<String>, u16);
    let Value::Array(ranges) = map else { return Vec::new() };
    let range = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let first: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let last: u16 = redis::from_redis_value(parts.next()?).ok()?;
        let Value::Array(mut node) = parts.next()? else { return None };
        node.truncate(2);
        let (host, port): Node = redis::from_redis_value(Value::Array(node)).ok()?;
        Some((first..=last, at(asked, host.filter(|host| !host.is_empty() && host != "?"), port)))
    };
    ranges.into_iter().filter_map(range).collect()
}

/// The address of a node, with the TLS settings of the asked one.
fn at(asked: &ConnectionAddr, name: Option<String>, number: u16) -> ConnectionAddr {
    match asked.clone() {
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(name.unwrap_or(host), number),
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: name.unwrap_or(host), port: number, insecure, tls_params }
        }
        other => other,
    }
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, as in the cluster specification.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty())
        .unwrap_or(key);
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::slot;

    #[test]
    fn slots_match_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("glimpse:{7}:job:x"), slot("7"));
        assert_eq!(slot("{}empty"), slot("{}empty"));
        assert_eq!(slot("foo"), 12_182);
    }
}
