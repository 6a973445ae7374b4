//! Requests per minute. This process counts on its own: N of them allow up to N times as many.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The time that a limit is for.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// What the tenants of this process have left.
#[derive(Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Left>>);

/// What a tenant has left: it fills up evenly within a minute.
struct Left {
    requests: f64,
    at: Instant,
}

/// What a tenant has left after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The most requests within a minute.
    pub(crate) limit: NonZeroU32,
    /// How many more it may send now.
    pub(crate) left: u32,
    /// When it may send one more than that.
    pub(crate) more_in: Duration,
}

impl Rates {
    /// Counts a request of a tenant now.
    ///
    /// # Errors
    /// If it may send none. Then nothing is counted.
    pub(crate) fn take(&self, tenant: &str, limit: NonZeroU32, now: Instant) -> Result<Rate, Rate> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = f64::from(limit.get());
        if !all.contains_key(tenant) {
            all.insert(tenant.to_owned(), Left { requests: most, at: now });
        }
        let per_second = most / WINDOW.as_secs_f64();
        let Some(left) = all.get_mut(tenant) else { return Ok(rate(limit, most, per_second)) };
        let since = now.saturating_duration_since(left.at).as_secs_f64();
        left.requests = (left.requests + since * per_second).min(most);
        left.at = now;
        if left.requests < 1.0 {
            return Err(rate(limit, left.requests, per_second));
        }
        left.requests -= 1.0;
        Ok(rate(limit, left.requests, per_second))
    }
}

fn rate(limit: NonZeroU32, left: f64, per_second: f64) -> Rate {
    let missing = 1.0 - left.fract();
    Rate { limit, left: left as u32, more_in: Duration::from_secs_f64(missing / per_second) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_as_many_requests_as_the_limit_and_they_come_back_evenly() {
        let (rates, begun) = (Rates::default(), Instant::now());
        let limit = NonZeroU32::new(6).unwrap();
        let take = |tenant, seconds| rates.take(tenant, limit, begun + Duration::from_secs(seconds));
        for left in (0..6).rev() {
            assert_eq!(take("a", 0).unwrap().left, left);
        }
        let refused = take("a", 0).unwrap_err();
        assert_eq!((refused.left, refused.more_in), (0, Duration::from_secs(10)));
        assert_eq!(take("a", 4).unwrap_err().more_in, Duration::from_secs(6));
        // Another tenant has its own, and a refused request costs nothing.
        assert_eq!(take("b", 4).unwrap().left, 5);
        assert_eq!(take("a", 11).unwrap().left, 0);
        assert!(take("a", 12).is_err());
        assert_eq!(take("a", 200).unwrap().left, 5);
        // A lower limit counts at once.
        let lower = NonZeroU32::new(1).unwrap();
        assert_eq!(rates.take("a", lower, begun + Duration::from_secs(201)).unwrap().left, 0);
        assert!(rates.take("a", lower, begun + Duration::from_secs(202)).is_err());
    }
}
