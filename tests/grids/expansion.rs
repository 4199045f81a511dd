//! What the members of a grid are.

use std::fmt::Write;

use growmerge::recipe::Contents;

use super::{SMALL, check_texts, grid, names, recipe, support};

#[test]
fn a_member_has_its_values_in_its_recipe() {
    let text = SMALL.to_owned()
        + "  weights:
    - {name: few, set: {parameters: {weight: '{weights.w}', scale: null}}, w: [0.5, 1]}
    - {name: many, set: {parameters: {weight: '{weights.w}'}}, w: {nested: true}}
";
    let text = text.replace("{weight: 1}", "{weight: 1, scale: 2}").replace("'{method}-{languages}'", "null");
    let grid = grid(&text.replace("w: {nested: true}", "w: -1.5e-3"));
    assert_eq!(grid.members.len(), 16);
    check_texts(&grid);
    let few = recipe(&grid, "linear-et-sv-few");
    let models: Vec<String> = few.models().iter().map(|m| m.value.path.clone()).collect();
    assert_eq!(models, ["common", "m/et", "m/sv"]);
    assert!(few.text.contains("weight: [0.5, 1]") && !few.text.contains("scale"), "{}", few.text);
    assert!(recipe(&grid, "karcher-et-fo-sv-many").text.contains("weight: -0.0015\n  scale: 2\n"));
}

/// A subset is a set: what is taken out or changed does not depend on the order in which its members are written.
#[test]
fn subsets_are_taken_out_in_any_order() {
    let with = |more: &str| grid(&format!("{SMALL}{more}"));
    let all = with("");
    for excluded in ["[sv, et]", "[et, sv]", "et-sv"] {
        let grid = with(&format!("  exclude: [{{languages: {excluded}}}]\n"));
        let left: Vec<&str> = names(&all).into_iter().filter(|n| !n.ends_with("-et-sv")).collect();
        assert_eq!((left.len(), left), (6, names(&grid)), "{excluded}");
    }
    let changed = with("  include: [{method: karcher, languages: [sv, fo, et], set: {dtype: float16}}]\n");
    assert_eq!(names(&changed), names(&all), "no member is added");
    let of_type = |name: &&str| recipe(&changed, name).dtype.is_some();
    assert_eq!(names(&changed).into_iter().filter(of_type).collect::<Vec<_>>(), ["karcher-et-fo-sv"]);
    // Half of one, and one with a member twice, are others.
    for other in ["[et]", "[et, et, sv]"] {
        let said = Contents::parse("grid.yaml", &format!("{SMALL}  exclude: [{{languages: {other}}}]\n"));
        assert!(said.unwrap_err().to_string().contains("excludes nothing"), "{other}");
    }
}

/// Against plain loops, for grids of any shape.
#[test]
fn members_are_those_of_plain_loops() {
    let mut noise = support::Noise(3);
    let mut below = |n: usize| ((noise.next() + 1.0) / 2.0 * n as f32) as usize;
    for _ in 0..60 {
        let (a, n, b) = (1 + below(4), 1 + below(5), 1 + below(3));
        let least = 1 + below(n);
        let most = least + below(n - least + 1);
        let (excluded, other) = (below(a), below(b));
        let mut text = "merge_method: linear\nmodels: [{model: x}, {for: 'm in s', model: '{a}{m}{b.f}'}]\n\
            name: 'a{a}_{s}_{b}'\nmatrix:\n"
            .to_owned();
        let _ = writeln!(text, "  a: {:?}", (0..a).collect::<Vec<_>>());
        let things: Vec<String> = (0..n).map(|i| format!("t{i}")).collect();
        let _ =
            writeln!(text, "  s: {{subsets: [{}], at_least: {least}, at_most: {most}}}", things.join(", "));
        let _ = writeln!(
            text,
            "  b: [{}]",
            (0..b).map(|i| format!("{{name: b{i}, f: {}}}", i * i)).collect::<Vec<_>>().join(", ")
        );
        let _ = writeln!(text, "  exclude: [{{a: {excluded}, b: b{other}}}]");
        let _ = writeln!(text, "  include: [{{a: 77, s: [t0, zz], b: b{other}}}]");
        let mut want = Vec::new();
        for i in 0..a {
            let mut sets: Vec<Vec<usize>> =
                (0u32..1 << n).map(|bits| (0..n).filter(|j| bits >> j & 1 == 1).collect()).collect();
            sets.retain(|s| (least..=most).contains(&s.len()));
            sets.sort_by_key(|s| (s.len(), s.clone()));
            for set in sets {
                for j in (0..b).filter(|j| (i, *j) != (excluded, other)) {
                    let parts: Vec<&str> = set.iter().map(|k| things[*k].as_str()).collect();
                    let models: Vec<String> = parts.iter().map(|t| format!("{i}{t}{}", j * j)).collect();
                    want.push((format!("a{i}_{}_b{j}", parts.join("-")), models));
                }
            }
        }
        let f = other * other;
        want.push((format!("a77_t0-zz_b{other}"), vec![format!("77t0{f}"), format!("77zz{f}")]));
        let grid = grid(&text);
        let got: Vec<(String, Vec<String>)> = grid
            .members
            .iter()
            .map(|m| {
                let models = recipe(&grid, &m.name);
                let models = models.models().iter().skip(1).map(|m| m.value.path.clone()).collect();
                (m.name.clone(), models)
            })
            .collect();
        assert_eq!(got, want, "{text}");
    }
}
