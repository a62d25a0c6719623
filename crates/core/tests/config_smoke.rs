use mizzen_core::config::*;
fn vocab() -> Vocabulary {
    Vocabulary {
        executor_kinds: vec![
            ExecutorKind {
                name: "local".into(),
                summary: "this machine".into(),
                schema: serde_json::json!({"type":"object","properties":{"slots":{"type":["integer","null"],"minimum":1}},"additionalProperties":false}),
            },
            ExecutorKind {
                name: "slurm".into(),
                summary: "slurm".into(),
                schema: serde_json::json!({"type":"object","properties":{"account":{"type":"string"},"nodes":{"type":"integer","minimum":1},"tags":{"type":"array","items":{"type":"string"}},"time":{"x-mizzen-format":"timespan","type":["string","number"]}},"required":["account"],"additionalProperties":false}),
            },
        ],
        launchers: vec!["torchrun".into(), "none".into()],
        macros: vec!["head_node_ip_var".into()],
    }
}
#[test]
fn smoke() {
    let dir = std::env::var("SMOKE").unwrap_or_default();
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let sets: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix("#set "))
            .map(|s| Override::parse(s, Origin::CommandLine))
            .collect();
        let mut ov = vec![];
        for s in sets {
            match s {
                Ok(o) => ov.push(o),
                Err(e) => println!("{e}"),
            }
        }
        println!("==== {name}");
        match load(
            &[Layer {
                origin: Origin::File,
                name: name.clone(),
                format: Format::from_path(&name).unwrap(),
                text,
            }],
            &ov,
            &|n| (n == "HOME").then(|| "/h".to_string()),
            &vocab(),
        ) {
            Ok(l) => {
                println!("{}", serde_json::to_string_pretty(&l.document).unwrap());
                println!("{:?}", l.spec);
                for (p, place) in l.provenance.iter(&l.sources) {
                    println!(
                        "{p}: {} {}:{}:{}",
                        place.origin, place.source, place.line, place.column
                    );
                }
            }
            Err(e) => println!("{e}"),
        }
    }
}
