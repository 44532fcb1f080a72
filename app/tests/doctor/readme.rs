//! The guide's table of checks is the code's: the same names, sections and remedies, in both languages.

use std::collections::BTreeSet;
use std::path::Path;

use softprefix::doctor::CHECKS;

/// Rows of the table: sections, checks, remedies, each as the guide writes them between commas.
fn rows(file: &str) -> Vec<[BTreeSet<String>; 3]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let names = |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line
                .trim()
                .strip_prefix('|')?
                .strip_suffix('|')?
                .split('|')
                .map(str::trim)
                .collect();
            let [section, checks, _, remedy] = cells[..] else {
                return None;
            };
            let sections: BTreeSet<String> = section.split([',', '、']).map(|s| s.trim().to_owned()).collect();
            let numbers = |s: &String| s.chars().next().is_some_and(|c| c.is_ascii_digit());
            sections
                .iter()
                .all(numbers)
                .then(|| [sections, names(checks), names(remedy)])
        })
        .collect()
}

#[test]
fn the_guides_table_lists_every_check_with_its_sections_and_remedies() {
    for file in ["assets/GUIDE.md", "assets/GUIDE.ja.md"] {
        let rows = rows(file);
        let mut listed = BTreeSet::new();
        for [sections, checks, remedies] in &rows {
            let known: Vec<_> = CHECKS.iter().filter(|check| checks.contains(check.id)).collect();
            assert_eq!(known.len(), checks.len(), "{file}: an unknown check in {checks:?}");
            let owned = |lists: Vec<&[&str]>| -> BTreeSet<String> {
                lists.into_iter().flatten().map(|&name| name.to_owned()).collect()
            };
            assert_eq!(
                sections,
                &owned(known.iter().map(|check| check.sections).collect()),
                "{file}: {checks:?}"
            );
            assert_eq!(
                remedies,
                &owned(known.iter().map(|check| check.remedies).collect()),
                "{file}: {checks:?}"
            );
            listed.extend(checks.iter().cloned());
        }
        let all: BTreeSet<String> = CHECKS.iter().map(|check| check.id.to_owned()).collect();
        assert_eq!(listed, all, "{file}");
    }
}

/// A heading as GitHub writes it in a link.
fn anchor(heading: &str) -> String {
    let kept = heading
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

#[test]
fn the_links_of_readme_and_guide_have_targets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut followed = 0;
    for file in [
        "README.md",
        "assets/README.ja.md",
        "assets/GUIDE.md",
        "assets/GUIDE.ja.md",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            // Of the site that shows the repository.
            if link.starts_with("http") || link.ends_with("/releases") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = root.join(file).parent().unwrap().join(path);
            assert!(target.exists(), "{file}: {link}");
            if !heading.is_empty() {
                let target = std::fs::read_to_string(&target).unwrap();
                let mut headings = target.lines().filter_map(|line| line.strip_prefix("## "));
                assert!(headings.any(|line| anchor(line) == heading), "{file}: {link}");
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed}");
}
