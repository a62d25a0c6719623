"""One function as a job: it runs in a process of its own, and what it returns comes back.

    python hello.py
"""

import mizzen as run


def area(width: float, height: float) -> float:
    print(f"multiplying {width} by {height}")
    if width < 0:
        raise ValueError(f"a width of {width}?")
    return width * height


def main() -> None:
    rectangle = run.Partial(area, width=3.0, height=4.5)
    result = run.run(rectangle, executor=run.LocalExecutor())
    print("the area is", result.value)

    rectangle.width = -1
    try:
        run.run(rectangle, executor=run.LocalExecutor())
    except run.JobFailed as failure:
        print("it failed:", failure.cause, "with exit status", failure.exit_code)


if __name__ == "__main__":
    main()
