"""Scripts in an experiment, as NeMo-Run's first example has them."""

import sys

import nemo_run as run

if __name__ == "__main__":
    inline = run.Script(inline="echo 'Hello world 1!'\necho two lines")
    path = run.Script(path=sys.argv[1], args=["a b", "$HOME"], env={"GREETING": "it's me"})
    module = run.Script(path="platform", m=True, entrypoint=sys.executable)
    with run.Experiment("hello-scripts", executor=run.LocalExecutor(), log_level="WARN") as exp:
        exp.add(inline, name="inline", tail_logs=True)
        exp.add(path, name="path", tail_logs=True)
        exp.add(module, name="module")
        exp.run(detach=False)
    states = {name: str(job["status"]) for name, job in exp.status(return_dict=True).items()}
    print("STATES", sorted(states.items()))
