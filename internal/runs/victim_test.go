package runs_test

const victimVariable = "POPPOBUILDER_TEST_VICTIM"

func victim() int { return 0 }
