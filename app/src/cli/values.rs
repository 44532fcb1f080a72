//! Lists of magnitudes as people type them: `0,1e-4,0.01`, and `1e-4,...,2` for the 1-2-5 steps between two values.
//!
//! It knows numbers only.

/// What existing comparison scripts run.
pub const USUAL: &str = "0,1e-4,1e-3,5e-3,1e-2,2e-2,5e-2,0.1,0.2,0.5,1,2";

/// Most values of one list: a slip in an exponent must not start a day's work.
const MOST: usize = 200;

/// Reads a list and sorts it, small to large; equal values count once.
///
/// # Errors
/// The item that is no number, and what is accepted.
pub fn parse(text: &str) -> Result<Vec<f64>, String> {
    let items: Vec<&str> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    let mut values: Vec<f64> = Vec::new();
    let mut gap = false;
    for item in items {
        if matches!(item, "..." | "…") {
            match values.last() {
                Some(&last) if last > 0.0 => gap = true,
                _ => return Err("before \"...\" a value above 0 is needed, such as 1e-4,...,2".to_owned()),
            }
            continue;
        }
        let value: f64 = item
            .parse()
            .map_err(|_| format!("{item:?} is not a number; write values like 0,1e-4,0.05"))?;
        if !value.is_finite() {
            return Err(format!(
                "{item:?} is not finite; a prefix of such values would poison every later position"
            ));
        }
        if gap {
            gap = false;
            let from = values.last().copied().unwrap_or(value);
            values.extend(steps(from, value)?);
        }
        values.push(value);
        if values.len() > MOST {
            return Err(format!("these are more than {MOST} values; run them in parts"));
        }
    }
    if gap {
        return Err("after \"...\" a value is needed, such as 1e-4,...,2".to_owned());
    }
    if values.is_empty() {
        return Err("no values; write them like 0,1e-4,0.05".to_owned());
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    Ok(values)
}

/// The 1-2-5 steps strictly between two values.
fn steps(from: f64, to: f64) -> Result<Vec<f64>, String> {
    if to <= from {
        return Err(format!("after \"...\" a value larger than {from} is needed"));
    }
    let mut between = Vec::new();
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    if (last - first) as usize * 3 > MOST {
        return Err(format!(
            "between {from} and {to} lie more than {MOST} steps; run them in parts"
        ));
    }
    for decade in first..=last {
        for digit in [1, 2, 5] {
            // Written and read back, so that 0.2 is the 0.2 that one would type.
            let value: f64 = format!("{digit}e{decade}").parse().unwrap_or(f64::NAN);
            if value > from * (1.0 + 1e-12) && value < to * (1.0 - 1e-12) {
                between.push(value);
            }
        }
    }
    Ok(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_sorted_and_once() {
        assert_eq!(parse("2.0, 0,1e-4,0.5,0.50").unwrap(), [0.0, 1e-4, 0.5, 2.0]);
    }

    #[test]
    fn three_dots_fill_in_the_usual_steps() {
        assert_eq!(parse("0,0.01,...,0.2").unwrap(), [0.0, 0.01, 0.02, 0.05, 0.1, 0.2]);
        assert_eq!(parse("0,1e-4,...,2.0").unwrap().len(), 1 + 14);
    }

    #[test]
    fn the_usual_list_is_readable() {
        assert_eq!(parse(USUAL).unwrap().len(), 12);
    }

    #[test]
    fn what_is_no_list_of_numbers_is_refused_with_the_item() {
        for (bad, word) in [
            ("0,x", "\"x\""),
            ("", "no values"),
            ("nan", "finite"),
            ("inf", "finite"),
            ("...,2", "before"),
            ("1,...", "after"),
            ("2,...,1", "larger"),
            ("0,...,1", "before"),
        ] {
            let message = parse(bad).unwrap_err();
            assert!(message.contains(word), "{bad}: {message}");
        }
    }
}
