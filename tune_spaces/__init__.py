"""Search spaces as plain data: one YAML file a space, the same words as in a recipe. `xmodal tune SPACE RECIPE...`.

    description: What is asked, in a sentence.
    search: {kind: asha, trials: 16}        # or {kind: pbt, trials: 4}: a population that exchanges weights
    settings:                               # path of a setting: what it may be, in the order in which they are drawn
      train.optimizer.learning_rate: {kind: log_uniform, low: 1e-4, high: 2e-3}
      train.optimizer.weight_decay: {kind: uniform, low: 0, high: 0.1}
      model.text.depth: {kind: integer, low: 1, high: 3}
      model.queue.size: {kind: age, low: 4, high: 32}                     # K = age * global batch, whole steps
      model.momentum.coefficient: {kind: staleness, low: 0.1, high: 0.7}  # m = (1 - S)^(1 / age)
      model.tasks.cons: {kind: choice, values: [null, {weight: 0.1}]}
      model.tasks.cons.weight: {kind: log_uniform, low: 0.01, high: 1, when: {model.tasks.cons: [{weight: 0.1}]}}

`kind: one_minus` with bounds of m itself draws 1 - m log-uniformly. A setting with `when` is searched in those trials
alone in which the settings it names, drawn before it, have one of the values listed; else the recipe's value holds.
"""
