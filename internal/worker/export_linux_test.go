package worker

// Children and ChildrenByParent are the two ways to list a process's children.
func Children(pid int) []int { return children(pid) }

// ChildrenByParent works on any kernel.
func ChildrenByParent(pid int) []int { return childrenByParent(pid) }
