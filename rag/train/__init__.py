"""Training: negatives are mined, a model is fine-tuned on one's own questions, and it meets the one that serves.

mine, negatives, written        hard negatives, and questions written by a model
files                           the questions to train on, and those that judge
tune                            prepare, train, meet: the whole way of one model
prepare_*, *_recipes            what a training is given, and how it is shaped
retriever, reranker, reader     the trainings; their rows, groups and losses stand beside them
generator, lora                 the same for language models
generator_contexts, near_twins  what a generator answers from, and questions that it has to refuse
fit, run, checkpoints           what every training shares; plain_trainer: for models of transformers alone
dev_evaluation, telemetry       how it is watched
gate, meet, promote, table      the comparison with the serving model, and what follows from it
"""
