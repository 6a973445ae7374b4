//! Fetches the slot map: from the nodes of a cluster, or from the sentinels of a master.

use futures::{FutureExt, future::select_ok};
use rand::seq::SliceRandom;
use redis::{ConnectionAddr, ConnectionInfo, Value, aio::ConnectionLike};

use super::{
    connection::{CONNECT, open, timeouts},
    failure::Failure,
    slots::{Map, parse_map},
    target::{Target, Topology},
};

/// The last slot.
const LAST: i64 = 16_383;

/// The slot map from the first server that returns one. In a cluster the masters of the last map are asked too,
/// because the seeds of a long-lived process may be gone.
pub(super) async fn map(target: &Target, masters: &[ConnectionAddr]) -> Result<Map, Failure> {
    if let Topology::Sentinel(service) = &target.topology {
        // In parallel: a sentinel that names a failed master costs seconds.
        let asked = target.seeds.iter().map(|sentinel| of_sentinel(&target.like, service, sentinel).boxed());
        return select_ok(asked).await.map(|(map, _)| map);
    }
    let mut nodes = target.seeds.clone();
    nodes.extend(masters.iter().map(|address| target.like.clone().set_addr(address.clone())));
    nodes.shuffle(&mut rand::rng());
    let mut failure = Failure::NoConnection("no node was asked".to_owned());
    for node in nodes {
        match of_cluster(node).await {
            Ok(slots) if !slots.is_empty() => return Ok(slots),
            Ok(_) => failure = Failure::NoConnection("the cluster has no slots".to_owned()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn of_cluster(node: ConnectionInfo) -> Result<Map, Failure> {
    let address = node.addr().clone();
    let mut connection = open(node, timeouts(CONNECT)).await?;
    let map = connection.req_packed_command(redis::cmd("CLUSTER").arg("SLOTS")).await?;
    Ok(parse_map(map.extract_error()?, &address))
}

/// A map on which the master holds all slots.
async fn of_sentinel(
    like: &ConnectionInfo,
    service: &str,
    sentinel: &ConnectionInfo,
) -> Result<Map, Failure> {
    let address = sentinel.addr();
    let mut connection = open(sentinel.clone(), timeouts(CONNECT)).await?;
    let ask = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service).to_owned();
    let master = connection.req_packed_command(&ask).await?.extract_error()?;
    let all = [Value::Int(0), Value::Int(LAST), master];
    let map = parse_map(Value::Array(vec![Value::Array(all.into())]), address);
    let Some((_, master)) = map.first() else {
        return Err(Failure::NoConnection(format!(
            "the sentinel at {address} monitors no master named {service}"
        )));
    };
    // An isolated sentinel may name a server that is a replica by now. Its data may be old.
    let mut connection = open(like.clone().set_addr(master.clone()), timeouts(CONNECT)).await?;
    let role = connection.req_packed_command(&redis::cmd("ROLE")).await?.extract_error()?;
    match role {
        Value::Array(role) if matches!(role.first(), Some(Value::BulkString(word)) if word == b"master") => {
            Ok(map)
        }
        _ => Err(Failure::NoConnection(format!(
            "the sentinel at {address} names the master {master}, but that server is a replica"
        ))),
    }
}
