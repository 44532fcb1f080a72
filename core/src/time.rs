//! Times as people write them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The Unix time now, in seconds; 0 where the clock is before 1970.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// A Unix time in seconds as date and time in UTC: `2026-11-23 04:05:06 UTC`. `–` where it is 0, negative or not a
/// time.
#[must_use]
pub fn utc(unix: f64) -> String {
    written(unix, TimeZone::UTC, "%Y-%m-%d %H:%M:%S UTC")
}

/// A Unix time in seconds as date and time of this computer's time zone: `2026-11-23 13:05`. `–` where it is 0,
/// negative or not a time.
#[must_use]
pub fn local(unix: f64) -> String {
    written(unix, TimeZone::system(), "%Y-%m-%d %H:%M")
}

/// As [`local`], with the zone's distance from UTC, for a text that is read elsewhere: `2026-11-23 13:05 (UTC+09:00)`.
#[must_use]
pub fn local_with_zone(unix: f64) -> String {
    written(unix, TimeZone::system(), WITH_ZONE)
}

const WITH_ZONE: &str = "%Y-%m-%d %H:%M (UTC%:z)";

/// A Unix time in seconds for a file's name, in this computer's time zone: `2026-11-23-130506`.
#[must_use]
pub fn stamp(unix: f64) -> String {
    written(unix, TimeZone::system(), "%Y-%m-%d-%H%M%S")
}

/// Files without a time hold 0.
fn written(unix: f64, zone: TimeZone, form: &str) -> String {
    if !(unix.is_finite() && unix > 0.0) {
        return "–".to_owned();
    }
    // A float beyond i64 saturates, which is beyond a timestamp, too.
    Timestamp::from_second(unix as i64).map_or_else(
        |_| "–".to_owned(),
        |time| time.to_zoned(zone).strftime(form).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(utc(951_782_400.0), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_406_706.9), "2026-11-23 04:05:06 UTC");
        for no_time in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert_eq!(utc(no_time), "–");
            assert_eq!(local(no_time), "–");
        }
    }

    #[test]
    fn a_local_time_is_that_of_its_zone() {
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(
            written(1_795_406_706.0, tokyo.clone(), "%Y-%m-%d %H:%M"),
            "2026-11-23 13:05"
        );
        assert_eq!(
            written(1_795_406_706.0, tokyo, WITH_ZONE),
            "2026-11-23 13:05 (UTC+09:00)"
        );
        assert_eq!(local_with_zone(0.0), "–");
    }
}
