//! What is wrong with files beside the models, and with what a recipe says of them.

use growmerge::device::cpu::Cpu;
use growmerge::problem::Error;

use crate::support::{plan, refusal, run};
use crate::*;

const SHAPES: [(&str, [usize; 2]); 2] = [(UP, [6, 8]), (EMBED, [10, 8])];

fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    SHAPES.iter().map(|(name, shape)| (*name, shape.to_vec())).collect()
}

fn world() -> World {
    let world = World::new(1, &shapes(), 2);
    let noise = &mut Noise(2);
    for i in 0..2 {
        write_importance(&world.path(&format!("importance{i}.safetensors")), noise, &shapes(), 1e-3);
        let gram = gram(noise, 8);
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, 8, &gram)]);
    }
    world
}

fn fisher(world: &World, more: &str) -> String {
    world.recipe("fisher", "importance", &[], more)
}

fn regmean(world: &World, more: &str) -> String {
    world.recipe("regmean", "grams", &[], more)
}

fn one(name: &str, shape: &[usize], value: f32) -> Values {
    Values::from([(name.to_owned(), (shape.to_vec(), vec![value; shape.iter().product()]))])
}

#[test]
fn files_that_are_not_what_they_should_be() {
    let world = world();
    let first = world.path("importance0.safetensors");
    let all = |shapes: &[(&str, Vec<usize>)]| -> Values {
        shapes.iter().flat_map(|(name, shape)| one(name, shape, 1.0)).collect()
    };
    let both = all(&shapes());
    let mean = |text: &str| [("mean", text.to_owned())];
    type Case<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let cases: Vec<Case<'_>> = vec![
        ("no such file", Box::new(|| std::fs::remove_file(&first).unwrap())),
        ("is a folder, not a file", Box::new(|| std::fs::create_dir(&first).unwrap())),
        (
            "the file is empty",
            Box::new(|| {
                std::fs::remove_dir(&first).unwrap();
                std::fs::write(&first, "").unwrap();
            }),
        ),
        (
            "its format is `growmerge gram 1`, not `growmerge fisher 1`",
            Box::new(|| {
                std::fs::copy(world.path("grams0.safetensors"), &first).unwrap();
            }),
        ),
        ("its header has no `format: growmerge fisher 1`", Box::new(|| save(&first, &[], &[]).unwrap())),
        (
            "its header does not say the `mean`",
            Box::new(|| write_file(&first, "growmerge fisher 1", &[], &both)),
        ),
        (
            "its `mean` is `NaN`, not a positive number",
            Box::new(|| {
                write_file(&first, "growmerge fisher 1", &mean("NaN"), &both);
            }),
        ),
        (
            "its `mean` is zero: nothing matters",
            Box::new(|| {
                write_file(&first, "growmerge fisher 1", &mean("0"), &both);
            }),
        ),
        (
            "there is no importance of it in",
            Box::new(|| {
                write_file(&first, "growmerge fisher 1", &mean("1"), &one(UP, &[6, 8], 1.0));
            }),
        ),
        (
            "has shape [8, 6], but [6, 8] belongs to it",
            Box::new(|| {
                let odd = all(&[(UP, vec![8, 6]), (EMBED, vec![10, 8])]);
                write_file(&first, "growmerge fisher 1", &mean("1"), &odd);
            }),
        ),
    ];
    for (wanted, spoil) in cases {
        spoil();
        let told = refusal(&fisher(&world, ""));
        assert!(told.contains(wanted) && told.contains("hint:"), "{wanted}:\n{told}");
        let line = "--> recipe.yaml:4";
        assert!(told.contains(line) || told.contains("of it in") || told.contains("belongs to it"), "{told}");
    }
}

#[test]
fn gram_matrices_that_do_not_fit() {
    let world = world();
    let (first, eye) = (world.path("grams0.safetensors"), gram(&mut Noise(7), 8));
    let seven = gram(&mut Noise(7), 7);
    let cases: [(&str, &dyn Fn()); 4] = [
        ("has shape [7, 7], but [8, 8] belongs to it", &|| write_grams(&first, &[], &[(UP, 7, &seven)])),
        ("there is no Gram matrices of it in", &|| write_grams(&first, &[], &[(EMBED, 8, &eye)])),
        ("is of type BF16", &|| {
            let about = [("format", "growmerge gram 1".to_owned())];
            save(&first, &about, &[bf16(UP, &[8, 8], &eye)]).unwrap();
        }),
        ("`shared` in its header is not a list of names", &|| {
            write_file(&first, "growmerge gram 1", &[("shared", "[".into())], &one(UP, &[8, 8], 1.0));
        }),
    ];
    for (wanted, spoil) in cases {
        spoil();
        let told = refusal(&regmean(&world, ""));
        assert!(told.contains(wanted) && told.contains("hint:"), "{wanted}:\n{told}");
    }
}

/// Without this the merge would be a mean that calls itself RegMean.
#[test]
fn gram_matrices_that_nothing_asks_for() {
    let world = world();
    for i in 0..2 {
        let matrix = gram(&mut Noise(7), 8);
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[("transformer.up", 8, &matrix)]);
    }
    let told = refusal(&regmean(&world, ""));
    for i in 0..2 {
        let wanted =
            format!("none of the matrices in {} is of a tensor", world.at(&format!("grams{i}.safetensors")));
        assert!(told.contains(&wanted) && told.contains("--> recipe.yaml:4"), "{told}");
    }
}

/// Files of two models that were mixed up fit in every shape.
#[test]
fn files_that_were_measured_on_the_language_of_another_model() {
    let world = world();
    let save = |i: usize, language: &str| {
        let about = [("mean", "1".to_owned()), ("language", language.to_owned())];
        let all = shapes().iter().flat_map(|(name, shape)| one(name, shape, 1.0)).collect();
        write_file(&world.path(&format!("importance{i}.safetensors")), "growmerge fisher 1", &about, &all);
    };
    let warned = || plan(&fisher(&world, "")).warnings.to_string();
    save(0, "m0");
    save(1, "et");
    assert!(!warned().contains("measured"), "{}", warned());
    save(0, "m1");
    save(1, "m0");
    for (i, other) in [(0, 1), (1, 0)] {
        let file = world.at(&format!("importance{i}.safetensors"));
        let wanted = format!("{file} says that it was measured on `m{other}`, and is given to `m{i}`");
        assert!(warned().contains(&wanted), "{wanted}\n{}", warned());
    }
}

#[test]
fn recipes_that_say_too_little_or_too_much() {
    let world = world();
    let without = |method: &str| {
        let models: String = (0..2).map(|i| format!("  - model: {}\n", world.at(&format!("m{i}")))).collect();
        format!("merge_method: {method}\nmodels:\n{models}")
    };
    let weighted = |a: f64, b: f64| world.recipe("fisher", "importance", &[a, b], "");
    let file = world.at("importance0.safetensors");
    let cases = [
        (without("fisher"), "`importance` is missing for model"),
        (without("regmean"), "`grams` is missing for model"),
        (fisher(&world, "parameters: {importence: x}"), "no parameter `importence`"),
        (
            without("fisher") + "parameters: {importance: 3}\n",
            "`importance` must be a file of importance, not 3",
        ),
        (
            without("linear") + &format!("parameters: {{weight: 1, importance: {file}}}\n"),
            "no parameter `importance`",
        ),
        (weighted(1.0, -0.5), "weight -0.5 is negative"),
        (weighted(0.0, 0.0), "all weights are zero"),
        (fisher(&world, "parameters: {lambda: 2}"), "there is no base"),
        (regmean(&world, "parameters: {lambda: 2}"), "there is no base"),
        (fisher(&world, "parameters: {exponent: 9}"), "exponent 9 is too large"),
        (fisher(&world, "parameters: {exponent: -1}"), "must be a number from 0 on"),
        (fisher(&world, "parameters: {importance_divisor: tensor}"), "must be one of none, model"),
        (regmean(&world, "parameters: {shrinkage: 1.5}"), "must be a number in [0, 1]"),
    ];
    for (text, wanted) in cases {
        let told = match growmerge::recipe::Recipe::parse("recipe.yaml", &text) {
            Ok(recipe) => match growmerge::plan::Plan::build(&recipe, &Default::default()) {
                Ok(plan) => plan.warnings.to_string(),
                Err(problems) => problems.to_string(),
            },
            Err(problems) => problems.to_string(),
        };
        assert!(told.contains(wanted), "{wanted}:\n{told}");
    }
}

/// What only the numbers tell ends the merge, with the tensor and the file.
#[test]
fn numbers_that_cannot_be_weighted_by() {
    let world = world();
    let told = |text: &str| match run(&plan(text), &Cpu::new(), 2) {
        Err(Error::Input(problems)) => problems.to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("this was merged:\n{text}"),
    };
    let path = world.path("importance1.safetensors");
    for (value, wanted) in
        [(f32::NAN, "has NaN"), (f32::INFINITY, "has infinity"), (-1e-9, "is negative (-1e-9)")]
    {
        let mut all = one(EMBED, &[10, 8], 1.0);
        let mut values = vec![1.0; 48];
        values[19] = value;
        all.insert(UP.into(), (vec![6, 8], values));
        write_file(&path, "growmerge fisher 1", &[("mean", "1".into())], &all);
        for allow in ["", "non_finite: allow\n"] {
            let told = told(&fisher(&world, allow));
            let place = format!("{UP}: its importance in {} {wanted} in row 2, column 3", path.display());
            assert!(told.contains(&place), "{place}\n{told}");
        }
    }
    let path = world.path("grams1.safetensors");
    write_grams(&path, &[], &[(UP, 8, &[f32::NAN; 64])]);
    assert!(told(&regmean(&world, "")).contains("its matrix in"), "NaN");
    // All inputs alike: one direction, and nothing about the others.
    for i in 0..2 {
        write_grams(&world.path(&format!("grams{i}.safetensors")), &[], &[(UP, 8, &[1.0; 64])]);
    }
    let said = told(&regmean(&world, "parameters: {shrinkage: 1}"));
    assert!(
        said.contains(&format!("{UP}: the sum of the models' Gram matrices is not positive definite")),
        "{said}"
    );
    assert!(said.contains("lower `shrinkage`"), "{said}");
    assert!(run(&plan(&regmean(&world, "")), &Cpu::new(), 2).is_ok(), "shrinkage helps");
}

/// Weights of rows are held to what numbers are held to.
#[test]
fn rows_of_an_average() {
    use growmerge::coefficients::{Key, Written, write};
    let world = world();
    let file = world.path("coefficients.safetensors");
    let save = |rows: &[f32], columns: &[f32]| {
        let key = |entry: &str| Key { entry: entry.into(), tensor: EMBED.into() };
        let other = Written {
            key: key("m0"),
            rows: &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            columns: &[],
        };
        write(&file, &[], &[other, Written { key: key("m1"), rows, columns }]).unwrap();
    };
    let words = format!("[{{filter: embed_tokens, value: {{file: {}}}}}, {{value: 1}}]", file.display());
    let text = regmean(&world, &format!("parameters: {{weight: {words}}}"));
    save(&[1.0], &[1.0; 8]);
    plan(&text);
    save(&[1.0], &[1.0, 1.0, -0.5, 1.0, 1.0, 1.0, 1.0, 1.0]);
    assert!(refusal(&text).contains("a weight of rows or columns is negative"));
    save(&[1.0], &[1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert!(
        refusal(&text).contains("the weights of row 0, column 3, sum to zero: there is nothing to average")
    );
}
