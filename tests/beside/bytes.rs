//! The same bytes whatever the threads and blocks, and what the manifest says of files beside the models.

use growmerge::device::LINE;
use growmerge::device::cpu::Cpu;
use growmerge::execute::UNIT;

use crate::host::{Host, Threads};
use crate::support::{command, merge, plan, read, run};
use crate::*;

/// Shapes that meet every edge: several units, rows longer than a line, a part of a line, no dimension.
fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        (UP, vec![37, 331]),
        (GATE, vec![3, 331]),
        ("model.layers.1.mlp.down_proj.weight", vec![5, 9001]),
        (EMBED, vec![2 * UNIT / 700 + 7, 700]),
        (NORM, vec![17]),
        ("scalar", vec![]),
    ]
}

fn world() -> World {
    let world = World::new(8, &shapes(), 3);
    let noise = &mut Noise(40);
    let (narrow, wide) = (gram(noise, 331), {
        // A large one is made of a diagonal and one direction.
        let x: Vec<f32> = (0..700).map(|_| noise.next()).collect();
        (0..700 * 700)
            .map(|at| x[at / 700] * x[at % 700] + if at % 701 == 0 { 1.0 } else { 0.0 })
            .collect::<Vec<_>>()
    });
    for i in 0..3 {
        write_importance(&world.path(&format!("importance{i}.safetensors")), noise, &shapes(), 1e-3);
        let scaled = |x: &[f32]| x.iter().map(|x| x * (1.0 + i as f32)).collect::<Vec<f32>>();
        let grams = [(EMBED, 700, &scaled(&wide)[..]), (GATE, 331, &scaled(&narrow))];
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[(UP, GATE)], &grams);
    }
    world
}

fn recipes(world: &World) -> Vec<String> {
    let base = format!("base_model: {}\nparameters: {{lambda: 1.7}}", world.at("base"));
    let weights = [0.5, 1.0, 2.0];
    let mut all = Vec::new();
    for (method, file) in [("fisher", "importance"), ("regmean", "grams")] {
        all.push(world.recipe(method, file, &weights, ""));
        all.push(world.recipe(method, file, &weights, &base));
    }
    all.push(world.recipe("fisher", "importance", &[], "parameters: {exponent: 0.7}"));
    all
}

fn same(a: &Tensors, b: &Tensors) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((n, x), (m, y))| n == m && x.bytes == y.bytes)
}

#[test]
fn threads_and_blocks_change_no_byte() {
    let world = world();
    for text in recipes(&world) {
        let plan = plan(&text);
        let one = run(&plan, &Cpu::new(), 1).unwrap();
        for (threads, block) in [(2, LINE), (7, 3 * LINE), (7, 1 << 24), (2, 1)] {
            let other = run(&plan, &Cpu::new().with_block_elements(block), threads).unwrap();
            assert!(same(&one, &other), "{threads} threads, blocks of {block}:\n{text}");
        }
    }
}

/// The kernels of a card, compiled for the host.
#[test]
fn devices_change_no_byte() {
    let world = world();
    for text in recipes(&world) {
        let Some(host) = Host::new(Threads::One, 1 << 30) else { return };
        let (plan, (cuda, _)) = (plan(&text), host.device());
        assert!(same(&run(&plan, &Cpu::new(), 2).unwrap(), &run(&plan, &cuda, 2).unwrap()), "{text}");
    }
}

#[test]
fn vector_width_changes_no_byte() {
    let world = world();
    for text in recipes(&world) {
        let recipe = world.path("recipe.yaml");
        std::fs::write(&recipe, &text).unwrap();
        let outputs: Vec<Tensors> = ["", "avx2", "plain"]
            .iter()
            .map(|level| {
                let out = world.path("out");
                let mut merge = command();
                merge.env("GROWMERGE_SIMD", level).args(["merge", "--quiet", "--overwrite"]);
                merge.arg(&recipe).arg(&out).assert().success();
                read(&out)
            })
            .collect();
        assert!(same(&outputs[0], &outputs[1]) && same(&outputs[0], &outputs[2]), "{text}");
    }
}

/// A stage is made block by block while it is read, and has the bytes that it would have on disk.
#[test]
fn a_stage_reads_its_files() {
    let world = world();
    for text in recipes(&world).iter().take(4) {
        let out = world.path("stage");
        std::fs::write(world.path("stage.yaml"), text).unwrap();
        command()
            .args(["merge", "--quiet", "--overwrite"])
            .arg(world.path("stage.yaml"))
            .arg(&out)
            .assert()
            .success();
        let linear = |stage: &str| {
            format!(
                "merge_method: linear\nmodels: [{{model: {stage}}}, {{model: {}}}]\nparameters: {{weight: 1}}\n",
                world.at("m0")
            )
        };
        let staged = format!("name: stage\n{text}---\n{}", linear("stage"));
        assert!(same(&merge(&staged), &merge(&linear(out.to_str().unwrap()))), "{text}");
    }
}

#[test]
fn the_manifest_names_the_files_and_verify_looks_at_them() {
    for (method, file) in [("fisher", "importance"), ("regmean", "grams")] {
        let world = world();
        let recipe = world.path("recipe.yaml");
        std::fs::write(&recipe, world.recipe(method, file, &[], "")).unwrap();
        let listed = command().args(["plan", "--tensors"]).arg(&recipe).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let words = if file == "grams" { "Gram matrices" } else { "importance" };
        assert!(listed.contains(&format!("{file}2.safetensors  {words}")), "{listed}");
        let explained = command().arg("explain").arg(&recipe).output().unwrap();
        let explained = String::from_utf8([explained.stdout, explained.stderr].concat()).unwrap();
        assert!(explained.contains(&format!("{method} of 3 models")), "{explained}");

        let out = world.path("out");
        let merged = command().args(["merge", "--hash-inputs"]).arg(&recipe).arg(&out).output().unwrap();
        let said = String::from_utf8([merged.stdout, merged.stderr].concat()).unwrap();
        assert!(said.contains("merged 3 models"), "{said}");
        let manifest = std::fs::read_to_string(out.join("growmerge.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let inputs = manifest["inputs"].as_array().unwrap();
        let beside: Vec<_> = inputs.iter().filter(|i| i["holds"] == words).collect();
        assert_eq!((inputs.len(), beside.len()), (6, 3));
        let bytes = std::fs::read(world.path(&format!("{file}0.safetensors"))).unwrap();
        assert_eq!(beside[0]["files"][0]["sha256"], growmerge::write::sha256_hex(&bytes));
        assert!(beside[0]["files"][0]["crc64nvme"].is_string());
        let tensor = manifest["tensors"].as_array().unwrap().iter().find(|t| t["name"] == UP).unwrap();
        assert_eq!(tensor["sources"].as_array().unwrap().len(), 6);

        let verify = || command().arg("verify").arg(&out).output().unwrap().status.code().unwrap();
        assert_eq!(verify(), 0);
        let path = world.path(&format!("{file}1.safetensors"));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(verify(), 1, "a file that was changed is noticed");
    }
}

/// Importance in bfloat16, as `growmerge importance` writes it, counts as the numbers that it stands for.
#[test]
fn importance_is_read_in_its_own_type() {
    let world = World::new(8, &[(UP, vec![9, 70])], 2);
    let noise = &mut Noise(3);
    for i in 0..2 {
        let coarse: Vec<f32> = (0..630).map(|_| half::bf16::from_f32(noise.next().abs()).to_f32()).collect();
        let values = Values::from([(UP.to_owned(), (vec![9, 70], coarse.clone()))]);
        let mean = [("mean", "0.4".to_owned())];
        write_file(&world.path(&format!("importance{i}.safetensors")), "growmerge fisher 1", &mean, &values);
        let about = [("format", "growmerge fisher 1".to_owned()), mean[0].clone()];
        save(&world.path(&format!("half{i}.safetensors")), &about, &[bf16(UP, &[9, 70], &coarse)]).unwrap();
    }
    let text = world.recipe("fisher", "importance", &[], "");
    let half = text.replace("/importance0", "/half0").replace("/importance1", "/half1");
    assert_ne!(text, half);
    assert!(same(&merge(&text), &merge(&half)));
}
