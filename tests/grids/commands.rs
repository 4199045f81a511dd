//! Grids on the command line.

use std::path::Path;

use super::recipe_file;
use super::support::{self, command, f32s};

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn members_are_listed_merged_and_skipped_when_complete() {
    let plan = command().args(["plan", "recipes/grid.yaml"]).assert().success();
    insta::assert_snapshot!(String::from_utf8_lossy(&plan.get_output().stdout));
    let plan =
        command().args(["plan", "recipes/grid.yaml", "--json", "--only", "*-et-is"]).assert().success();
    let json: serde_json::Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
    assert_eq!(json["members"].as_array().unwrap().len(), 3);
    assert_eq!(json["members"][2]["base"], "recipes/quickstart/en");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let run = |args: &[&str], code: i32| {
        let mut merge = command();
        let run = merge.args(["merge", "recipes/grid.yaml"]).arg(&out).args(args).assert().code(code);
        let output = run.get_output();
        (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (said, _) = run(&["--only", "ties-*is", "--only", "linear-et-fo"], 0);
    assert_eq!(files(&out), ["linear-et-fo", "ties-et-fo-is", "ties-et-is", "ties-fo-is"]);
    assert!(said.lines().last().unwrap().contains(": 4 merged, "), "{said}");
    // What is there is in the way, before anything is merged.
    let (_, refused) = run(&["--only", "*-et-is"], 2);
    assert!(refused.contains("in: ties-et-is\n") && refused.contains("--resume skips"), "{refused}");
    assert_eq!(files(&out).len(), 4);
    // An unfinished member is continued, finished ones are left alone.
    std::fs::remove_file(out.join("ties-et-is/growmerge.json")).unwrap();
    std::fs::write(out.join("ties-et-is/growmerge.journal"), "").unwrap();
    let before = std::fs::metadata(out.join("ties-fo-is/model.safetensors")).unwrap().modified().unwrap();
    let (said, _) = run(&["--only", "ties-*", "--resume"], 0);
    assert!(said.contains(": 2 merged, 2 complete already, "), "{said}");
    assert_eq!(
        std::fs::metadata(out.join("ties-fo-is/model.safetensors")).unwrap().modified().unwrap(),
        before
    );
    command().arg("verify").arg(out.join("ties-et-is")).assert().success();

    // A member's folder has all that is needed to make it again, without the grid.
    let member = out.join("ties-et-fo-is");
    let again = folder.path().join("again");
    command().arg("merge").arg(member.join("recipe.yaml")).arg(&again).arg("--quiet").assert().success();
    for name in files(&member) {
        assert_eq!(
            std::fs::read(member.join(&name)).unwrap(),
            std::fs::read(again.join(&name)).unwrap(),
            "{name}"
        );
    }
    let card = std::fs::read_to_string(member.join("README.md")).unwrap();
    assert!(card.contains("# ties-et-fo-is") && card.contains("  - model: recipes/quickstart/fo"), "{card}");
    assert!(!card.contains("matrix"), "{card}");

    // Checkpoints of one architecture have the same headers; the same name over other models is another merge.
    let other = recipe_file("grid.yaml").replace("quickstart/{language}", "quickstart/{language.path}");
    let other =
        other.replace("[et, fo, is]", "[{name: et, path: sv}, {name: fo, path: fo}, {name: is, path: is}]");
    let file = folder.path().join("other.yaml");
    std::fs::write(&file, other).unwrap();
    let run_other = command()
        .arg("merge")
        .arg(&file)
        .arg(&out)
        .args(["--only", "ties-et-is", "--resume"])
        .assert()
        .code(2);
    let refused = String::from_utf8_lossy(&run_other.get_output().stderr).into_owned();
    assert!(
        refused.contains("ties-et-is: error:") && refused.contains("finished merge here is of another plan"),
        "{refused}"
    );

    let (said, _) = run(&["--only", "linear-fo-is", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((json["merged"].as_array().unwrap().len(), &json["left"]), (1, &serde_json::json!(0)));
}

/// One that fails does not keep the others from being merged, and decides the exit code.
#[test]
fn a_member_that_fails_is_told_and_the_rest_is_merged() {
    let folder = tempfile::tempdir().unwrap();
    for (name, x) in [("a", 1.0), ("b", 2.0), ("c", f32::NAN)] {
        let tensors = [("model.layers.0.mlp.up_proj.weight".to_owned(), f32s(&[2, 3], [x; 6]))].into();
        support::write(&folder.path().join(name), &tensors);
    }
    let text = "name: 'x-{set}'\nmerge_method: linear\nmodels: [{for: m in set, model: '{m}'}]\nparameters: {weight: 1}\n\
                matrix: {set: {subsets: [a, b, c], at_least: 2}}\n";
    std::fs::write(folder.path().join("grid.yaml"), text).unwrap();
    let mut merge = command();
    let run = merge.current_dir(folder.path()).args(["merge", "grid.yaml", "out"]).assert().code(2);
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(said.contains("out: 1 merged, 3 failed (x-a-b-c, x-a-c, x-b-c), "), "{said}");
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("x-a-c: error: "));
    assert!(folder.path().join("out/x-a-b/growmerge.json").exists());
    assert!(!folder.path().join("out/x-a-c/growmerge.json").exists());
    // A misspelt model is found before anything is merged, and said once.
    std::fs::write(folder.path().join("grid.yaml"), text.replace("[a, b, c]", "[a, b, d]")).unwrap();
    let run = command().current_dir(folder.path()).args(["merge", "grid.yaml", "out2"]).assert().code(2);
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains("in: x-a-d, x-b-d, x-a-b-d\n") && !folder.path().join("out2").exists(), "{said}");
}

/// `verify` of a grid's folder: each member, all of them whatever is wrong with one.
#[test]
fn all_members_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    command()
        .args(["merge", "recipes/grid.yaml", "--only", "linear-*", "--quiet"])
        .arg(&out)
        .assert()
        .success();
    let members = files(&out);
    assert!(members.len() > 2, "{members:?}");
    let verify = |code: i32, more: &[&str]| {
        let run = command().arg("verify").arg(&out).args(more).assert().code(code);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&run.get_output().stdout), text(&run.get_output().stderr))
    };
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    let (said, _) = verify(0, &[]);
    assert_eq!(said.matches("all as recorded").count(), members.len(), "{said}");
    assert!(said.starts_with(&format!("{}: ", members[0])), "{said}");
    assert!(said.ends_with(&format!("{0} of {0} members good\n", members.len())), "{said}");
    assert_eq!(verify(0, &["--quiet"]), Default::default());

    std::fs::write(out.join(&members[1]).join("tokenizer.json"), "{}").unwrap();
    let (said, _) = verify(1, &["--quiet"]);
    assert!(said.starts_with(&format!("{}: bad: tokenizer.json: ", members[1])), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");

    // One that cannot be checked keeps none from being checked, and decides the exit code.
    let first = out.join(&members[0]);
    std::fs::rename(first.join("growmerge.json"), first.join("growmerge.journal")).unwrap();
    let (said, told) = verify(2, &[]);
    assert!(told.contains(&members[0]) && told.contains("is unfinished"), "{told}");
    assert!(said.contains(&format!("{}: bad: tokenizer.json", members[1])), "{said}");
    assert!(said.ends_with(&format!("{} of {} members good\n", members.len() - 2, members.len())), "{said}");
    let json: serde_json::Value = serde_json::from_str(&verify(2, &["--json"]).0).unwrap();
    assert!(json["members"][0]["error"].is_string() && json["members"][1]["checks"].is_array(), "{json}");
    assert_eq!(json["members"].as_array().unwrap().len(), members.len());
}

#[test]
fn only_is_for_grids_and_must_match() {
    let refused = |args: &[&str]| {
        let run = command().args(args).assert().code(2);
        String::from_utf8_lossy(&run.get_output().stderr).into_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let mut said = String::new();
    for args in [
        &["plan", "recipes/quickstart.yaml", "--only", "x"][..],
        &["merge", "recipes/grid.yaml", out, "--only", "linear-et-fi"],
        &["merge", "recipes/grid.yaml", out, "--keep", "x"],
        &["eval", "recipes/grid.yaml", "--texts", "recipes/quickstart/texts"],
        &["eval", "recipes/grid.yaml", "--texts", "recipes/quickstart/texts", "--only", "linear*"],
        &["eval", "recipes/quickstart/fo", "--texts", "recipes/quickstart/texts", "--only", "linear"],
    ] {
        said += &refused(args);
    }
    insta::assert_snapshot!(said);
    assert!(!Path::new(out).exists());
}

#[test]
fn a_member_is_measured_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fo.txt"), "Hetta er ein stuttur setningur.\n").unwrap();
    let texts = folder.path().to_str().unwrap();
    let baseline = folder.path().join("b.json");
    let baseline = baseline.to_str().unwrap();
    let measure = |more: &[&str]| {
        let mut check = command();
        check.args([
            "check",
            "recipes/grid.yaml",
            "--only",
            "ties-et-fo",
            "--texts",
            texts,
            "--context",
            "64",
        ]);
        check.args(["--baseline", baseline]).args(more);
        let run = check.assert().success();
        String::from_utf8_lossy(&run.get_output().stdout).into_owned()
    };
    measure(&["--update"]);
    assert!(std::fs::read_to_string(baseline).unwrap().contains("\"ties-et-fo\""));
    assert!(measure(&[]).contains("no language became worse"));
}
