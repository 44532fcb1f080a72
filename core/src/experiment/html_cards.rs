//! Parts of the HTML report that belong to one case: the plot of its row norms, and the baseline coloured by KL.

use std::fmt::Write as _;

use super::drawing::escape;
use super::rating::Stars;
use super::record::PrefixIdentity;
use super::scores::CaseScores;
use crate::compare::{KL_STEPS, kl_step};

/// The stylesheet of these parts. The steps of KL differ in lightness and in the thickness of their line, not only in
/// hue.
pub const STYLE: &str = "\
:root{--k1:#eee8fa;--k2:#d6c6f4;--k3:#ba9dec;--k4:#9d74e2;--kl:#4b1fa3}\
@media (prefers-color-scheme:dark){:root{--k1:#241d38;--k2:#3b2c66;--k3:#573b9a;--k4:#7749d2;--kl:#c3abff}}\
@media print{:root{--k1:#eee8fa;--k2:#d6c6f4;--k3:#ba9dec;--k4:#9d74e2;--kl:#4b1fa3}.k1,.k2,.k3,.k4,.norms *{\
-webkit-print-color-adjust:exact;print-color-adjust:exact}}\
.k1{background:var(--k1);box-shadow:inset 0 -1px var(--kl)}.k2{background:var(--k2);box-shadow:inset 0 -2px var(--kl)}\
.k3{background:var(--k3);box-shadow:inset 0 -3px var(--kl)}.k4{background:var(--k4);box-shadow:inset 0 -4px var(--kl)}\
.kl{background:var(--panel);border-radius:6px;padding:8px 10px;margin-top:8px}.kl h4{margin:0 0 4px;font-size:12px;\
color:var(--soft);font-weight:600}.kl .text{line-height:1.75}.scale{font-weight:400;white-space:nowrap}.scale span{padding:1px 5px;color:var(--ink)}\
.norms{display:block;width:300px;max-width:100%;height:34px}.norms text{font:10px system-ui,sans-serif;fill:var(--soft)}\
.norms .region{fill:var(--soft);opacity:.18}.norms .track{stroke:var(--soft)}.norms .span{stroke:var(--ink);stroke-width:5;\
stroke-linecap:round}.norms .median{stroke:var(--ink);stroke-width:2}.stars{white-space:nowrap;letter-spacing:.1em}\
.rating{white-space:pre-wrap;margin:4px 0 8px}";

/// Ends of the axis of norms, as powers of ten of the token norm.
const NORMS: (f64, f64) = (-3.0, 2.0);

/// A plot of the row norms from the smallest to the largest with the median, over the token-like region; `None` without
/// a token norm.
pub fn norms(prefix: &PrefixIdentity, token_norm: Option<f64>) -> Option<String> {
    const WIDTH: f64 = 300.0;
    // Half of the outermost labels lies outside the axis.
    const MARGIN: f64 = 16.0;
    let token_norm = token_norm.filter(|norm| *norm > 0.0)?;
    let [low, median, high] = prefix.row_norms.map(|norm| norm / token_norm);
    let x = |norm: f64| {
        let part = (norm.max(1e-9).log10() - NORMS.0) / (NORMS.1 - NORMS.0);
        MARGIN + part.clamp(0.0, 1.0) * (WIDTH - 2.0 * MARGIN)
    };
    let mut out = format!(
        "<svg class=\"norms\" viewBox=\"0 0 {WIDTH} 34\" role=\"img\" aria-label=\"{low:.3} / {median:.3} / {high:.3}\">\
         <rect class=\"region\" x=\"{:.1}\" y=\"2\" width=\"{:.1}\" height=\"14\"/>\
         <line class=\"track\" x1=\"{MARGIN}\" x2=\"{}\" y1=\"16\" y2=\"16\"/>",
        x(0.1),
        x(3.0) - x(0.1),
        WIDTH - MARGIN
    );
    for power in (NORMS.0 as i32)..=(NORMS.1 as i32) {
        let at = 10_f64.powi(power);
        let _ = write!(
            out,
            "<line class=\"track\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"16\" y2=\"20\"/>\
             <text x=\"{0:.1}\" y=\"31\" text-anchor=\"middle\">{at}</text>",
            x(at)
        );
    }
    // Rows of equal norm are one point; not every renderer draws a line without length.
    let (from, to) = (x(low), x(high).max(x(low) + 0.1));
    let _ = write!(
        out,
        "<line class=\"span\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"9\" y2=\"9\"/>\
         <line class=\"median\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"3\" y2=\"16\"/></svg>",
        x(median)
    );
    Some(out)
}

/// A number of stars, with its value for readers that cannot see them.
pub fn stars(stars: Stars) -> String {
    let (full, most) = (usize::from(stars.count()), usize::from(Stars::MAX));
    format!(
        "<span class=\"stars\" role=\"img\" aria-label=\"{full}/{most}\">{}{}</span>",
        "★".repeat(full),
        "☆".repeat(most - full)
    )
}

/// A legend of the steps, each with its lower end in nats; `nats` is the unit's name.
pub fn scale(nats: &str) -> String {
    let mut out = String::from("<span class=\"scale\">");
    for (index, edge) in KL_STEPS.iter().enumerate() {
        let _ = write!(out, "<span class=\"k{}\">{edge}</span> ", index + 1);
    }
    out + nats + "</span>"
}

/// The baseline's text with each token coloured by its KL. Tokens that share a character get one colour, that of the
/// largest KL.
pub fn coloured(text: &str, scores: &CaseScores) -> String {
    let mut out = String::with_capacity(text.len() * 4);
    let mut done = 0;
    let mut tokens = scores.places.iter().zip(&scores.kl).peekable();
    while let Some((&[from, mut to], &first)) = tokens.next() {
        let mut most = first;
        while let Some((&[_, end], &nats)) = tokens.next_if(|(place, _)| place[0] < to) {
            to = to.max(end);
            most = most.max(nats);
        }
        let (Some(before), Some(piece)) = (text.get(done..from), text.get(from..to)) else {
            break;
        };
        out.push_str(&escape(before));
        let piece = escape(piece);
        match kl_step(most) {
            0 => out.push_str(&piece),
            step => {
                let _ = write!(out, "<span class=\"k{step}\" title=\"KL {most:.3}\">{piece}</span>");
            }
        }
        done = to;
    }
    out.push_str(&escape(text.get(done..).unwrap_or_default()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::LikelihoodMeasures;

    #[test]
    fn every_character_of_a_coloured_text_stays_and_tokens_of_one_character_are_one() {
        let scores = CaseScores {
            baseline: String::new(),
            measures: LikelihoodMeasures {
                kl_mean: 0.0,
                kl_p95: 0.0,
                kl_max: 0.0,
                same_top: 1.0,
                perplexity_reference: 1.0,
                perplexity_prefixed: 1.0,
            },
            kl: vec![0.0, 0.01, 4.0, 0.5],
            places: vec![[0, 2], [2, 5], [2, 5], [5, 6]],
            perplexity: None,
        };
        assert_eq!(
            coloured("a<森b!", &scores),
            "a&lt;<span class=\"k4\" title=\"KL 4.000\">森</span><span class=\"k3\" title=\"KL 0.500\">b</span>!"
        );
        let odd = CaseScores {
            places: vec![[1, 90]],
            ..scores
        };
        assert_eq!(coloured("a<", &odd), "a&lt;");
    }
}
