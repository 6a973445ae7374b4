//! Reads whole bodies, with limits on their size, their time and this process' memory.
//!
//! tower-http's body limit closes the connection while the client is still sending, so the client does not read the
//! error. It also has no limit for all bodies together.

use std::{io::Read, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::error::ApiError;

/// Classes of bodies: the largest size in bytes, and how many bodies of this size may be in memory at once. Larger
/// bodies are the last class. Each class has its own memory, so that no class can block a smaller one.
const CLASSES: [(u64, u64); 2] = [(TINY, 1024), (256 << 10, 256)];
const LARGEST_AT_ONCE: u64 = 16;

/// The timeout for a whole body.
const WHOLE: Duration = Duration::from_secs(120);
/// The timeout for a body to grow by an eighth. A body that arrives evenly within [`WHOLE`] always meets it. A body
/// that stalls fails and frees its memory.
const GROWTH: Duration = Duration::from_secs(15);
const SHARE: u64 = 8;
/// A body of at most this many bytes may stall.
const TINY: u64 = 16 << 10;

/// How many bytes of a too large body are read and discarded: a client reads the response only after it has sent its
/// body.
const MAX_DISCARDED: u64 = 64 << 20;

/// How many bytes are decompressed at a time.
const INFLATED_AT_ONCE: usize = 16 << 10;

/// Reads bodies into memory, with a limit for all bodies of a class together.
pub(crate) struct Bodies {
    limit: u64,
    /// From the smallest bodies to the largest.
    classes: Vec<Class>,
}

/// Bodies of about the same size.
struct Class {
    /// The largest size in bytes.
    most: u64,
    /// One permit for each byte of a body that is being read or parsed.
    memory: Arc<Semaphore>,
}

impl Bodies {
    /// For bodies of up to `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let class = |(most, at_once): (u64, u64)| {
            let most = most.min(limit);
            let bytes = most.saturating_mul(at_once).try_into().unwrap_or(Semaphore::MAX_PERMITS);
            Class { most, memory: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))) }
        };
        Self { limit, classes: CLASSES.into_iter().chain([(limit, LARGEST_AT_ONCE)]).map(class).collect() }
    }

    /// Reads a whole body. The bytes keep their permits until they are dropped.
    pub(crate) async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, ApiError> {
        let too_large = ApiError::BodyTooLarge { limit: self.limit };
        let declared = body.size_hint().lower();
        if declared > self.limit && asks_first(headers) {
            return Err(too_large);
        }
        let mut kept = Ok(Kept { bytes: BytesMut::new(), place: None, class: self.class(declared) });
        let mut arrival = ArrivalDeadline::new(Instant::now());
        while let Some(frame) =
            timeout_at(arrival.deadline, body.frame()).await.map_err(|_| ApiError::BodyTooSlow)?
        {
            let data = frame.map_err(|_| ApiError::BodyCut)?.into_data().unwrap_or_default();
            arrival.received(data.len() as u64, Instant::now());
            if arrival.length > self.limit {
                kept = Err(too_large.clone());
            }
            // After an error the rest is discarded, because a client that is still sending does not read the response.
            if let Ok(whole) = &mut kept
                && let Err(full) = whole.extend(&data, self)
            {
                kept = Err(full);
            }
            if arrival.length > self.limit.saturating_add(MAX_DISCARDED) {
                break;
            }
        }
        kept.map(Bytes::from_owner)
    }

    /// Reads the body of a request that is refused, and forgets it: a client that is still sending does not read the
    /// response.
    pub(crate) async fn discard(&self, headers: &HeaderMap, mut body: Body) {
        if asks_first(headers) {
            return;
        }
        let mut arrival = ArrivalDeadline::new(Instant::now());
        while let Ok(Some(Ok(frame))) = timeout_at(arrival.deadline, body.frame()).await {
            arrival.received(frame.data_ref().map_or(0, Bytes::len) as u64, Instant::now());
            if arrival.length > self.limit.saturating_add(MAX_DISCARDED) {
                return;
            }
        }
    }

    /// The content of a whole body that is compressed with gzip, with the same limits: more is not decompressed. It
    /// blocks the thread.
    pub(crate) fn inflated(&self, body: &[u8]) -> Result<Bytes, ApiError> {
        let mut kept = Kept { bytes: BytesMut::new(), place: None, class: self.class(body.len() as u64) };
        let (mut inflating, mut part) = (MultiGzDecoder::new(body), [0; INFLATED_AT_ONCE]);
        loop {
            let length = inflating.read(&mut part).map_err(|_| ApiError::BodyNotGzip)?;
            if length == 0 {
                return Ok(Bytes::from_owner(kept));
            }
            if (kept.bytes.len() + length) as u64 > self.limit {
                return Err(ApiError::BodyTooLarge { limit: self.limit });
            }
            kept.extend(&part[..length], self)?;
        }
    }

    /// A copy of bytes that came in another way than as a body. Its memory counts as that of bodies.
    pub(crate) fn kept(&self, bytes: &[u8]) -> Result<Bytes, ApiError> {
        let mut kept = Kept { bytes: BytesMut::new(), place: None, class: self.class(bytes.len() as u64) };
        kept.extend(bytes, self)?;
        Ok(Bytes::from_owner(kept))
    }

    /// The class of a body of `length` bytes; the last one for a too large body.
    fn class(&self, length: u64) -> usize {
        let last = self.classes.len() - 1;
        self.classes.iter().position(|class| length <= class.most).unwrap_or(last)
    }

    /// Permits for `bytes` more of a body of a class.
    fn take(&self, class: usize, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = u32::try_from(bytes).map_err(|_| ApiError::BodiesFull)?;
        let memory = self.classes[class].memory.clone();
        memory.try_acquire_many_owned(bytes).map_err(|_| ApiError::BodiesFull)
    }
}

/// Whether the client has sent nothing of its body yet, and waits for an answer: `Expect: 100-continue`.
fn asks_first(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes() == b"100-continue")
}

/// The received part of a body, and its permits.
struct Kept {
    bytes: BytesMut,
    place: Option<OwnedSemaphorePermit>,
    /// Index into [`Bodies::classes`].
    class: usize,
}

impl Kept {
    fn extend(&mut self, data: &[u8], bodies: &Bodies) -> Result<(), ApiError> {
        let length = (self.bytes.len() + data.len()) as u64;
        let class = bodies.class(length).max(self.class);
        if class > self.class {
            // A body without a length, which has permits for smaller bodies so far.
            self.place = Some(bodies.take(class, self.bytes.len())?);
            self.class = class;
        }
        let more = bodies.take(class, data.len())?;
        match &mut self.place {
            Some(place) => place.merge(more),
            None => self.place = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The deadline for the next bytes of a body.
struct ArrivalDeadline {
    whole_by: Instant,
    /// How many bytes have arrived.
    length: u64,
    /// The length at which the deadline moves.
    grown: u64,
    deadline: Instant,
}

impl ArrivalDeadline {
    fn new(begun: Instant) -> Self {
        let whole_by = begun + WHOLE;
        Self { whole_by, length: 0, grown: TINY, deadline: whole_by }
    }

    fn received(&mut self, bytes: u64, now: Instant) {
        self.length += bytes;
        if self.length >= self.grown {
            self.grown = self.length + self.length / SHARE;
            self.deadline = self.whole_by.min(now + GROWTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tenth of a second at which a body of `length` bytes that arrives evenly within `seconds` times out.
    fn evenly(length: u64, seconds: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut arrival = ArrivalDeadline::new(begun);
        let tenths = seconds * 10;
        (1..=tenths).find(|tenth| {
            let now = begun + Duration::from_millis(tenth * 100);
            let late = now > arrival.deadline;
            arrival.received(length / tenths, now);
            late
        })
    }

    #[test]
    fn a_body_that_arrives_evenly_may_take_the_whole_timeout() {
        for length in [1000, 100_000, 1 << 20, 16 << 20, 1 << 30] {
            assert_eq!(evenly(length, 119), None, "{length}");
            assert!(evenly(length, 130).is_some(), "{length}");
        }
    }

    #[test]
    fn a_bomb_is_decompressed_up_to_the_limit() {
        use std::io::Write;

        let packed = |bytes: usize| {
            let mut packing = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packing.write_all(&vec![b' '; bytes]).unwrap();
            packing.finish().unwrap()
        };
        let bodies = Bodies::new(1 << 20);
        assert_eq!(bodies.inflated(&packed(1 << 20)).unwrap().len(), 1 << 20);
        let bomb = packed(64 << 20);
        assert!(bomb.len() < 100_000, "the limit for received bytes does not help");
        assert!(matches!(bodies.inflated(&bomb), Err(ApiError::BodyTooLarge { .. })));
        // Their memory counts as that of other bodies, and is freed with them.
        let kept: Vec<_> = (0..LARGEST_AT_ONCE).map(|_| bodies.inflated(&packed(1 << 20)).unwrap()).collect();
        assert!(matches!(bodies.inflated(&packed(1 << 20)), Err(ApiError::BodiesFull)));
        drop(kept);
        assert!(bodies.inflated(&packed(1 << 20)).is_ok());
        let whole = packed(1000);
        assert!(matches!(bodies.inflated(&whole[..whole.len() - 1]), Err(ApiError::BodyNotGzip)));
        assert!(matches!(bodies.inflated(b"{}"), Err(ApiError::BodyNotGzip)));
        assert_eq!(bodies.inflated(&[whole.clone(), whole].concat()).unwrap().len(), 2000);
    }

    #[test]
    fn a_body_that_stalls_or_is_slow_times_out_within_fifteen_seconds() {
        let begun = Instant::now();
        let mut arrival = ArrivalDeadline::new(begun);
        arrival.received(1 << 20, begun);
        for second in 1..15 {
            arrival.received(1000, begun + Duration::from_secs(second));
        }
        assert_eq!(arrival.deadline, begun + GROWTH);
        // A tiny body may be slow.
        let mut arrival = ArrivalDeadline::new(begun);
        arrival.received(TINY - 1, begun);
        assert_eq!(arrival.deadline, begun + WHOLE);
    }
}
