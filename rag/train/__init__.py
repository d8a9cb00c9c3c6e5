"""Training: negatives are mined, a model is fine-tuned on one's own questions, and it meets the one that serves.

mine, negatives, written        hard negatives, and questions written by a model
files                           the questions to train on, and those that judge
tune                            prepare, train, meet: the whole way of one model
prepare_*, *_recipes            what a training is given, and how it is shaped
retriever, reranker             the trainings; their rows, groups and losses stand beside them
fit, run, checkpoints           what every training shares
dev_evaluation, telemetry       how it is watched
gate, meet, promote, table      the comparison with the serving model, and what follows from it
"""
